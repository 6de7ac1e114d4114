"""The EventBridge rules that bring a bucket's new objects to a stage's queues: their names, patterns and targets.

One rule per bucket and queue, however many monitors read from the bucket. Not here: which monitors there are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from chalicelib.topology import resource_name

# EventBridge rejects longer patterns.
PATTERN_LIMIT = 2048


def rule_name(stage: str, queue: str, bucket: str) -> str:
    """`plumbline-{stage}-{queue}-{digest of the bucket}`: within EventBridge's 64 characters for any bucket."""
    return resource_name(stage, f"{queue}-{hashlib.sha256(bucket.encode()).hexdigest()[:12]}")


def event_pattern(bucket: str, prefixes: Iterable[str]) -> str:
    """The pattern for new objects under any of these prefixes of a bucket ("" is the whole bucket), as JSON.

    Too many prefixes for a pattern become fewer and shorter ones, which match more; functions ignore other objects.
    """
    heard = covering(prefixes)
    while len(text := _pattern(bucket, heard)) > PATTERN_LIMIT:
        longest = max(prefix.count("/") for prefix in heard)
        heard = covering(_shorter(prefix) if prefix.count("/") == longest else prefix for prefix in heard)
    return text


def covering(prefixes: Iterable[str]) -> list[str]:
    """The prefixes without those that another one covers, in order."""
    found: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not found or not prefix.startswith(found[-1]):
            found.append(prefix)
    return found


def hears(pattern: str, bucket: str, prefix: str) -> bool:
    """Whether a rule's pattern matches every new object under a prefix of a bucket.

    A pattern with conditions that our own rules never have counts as one that does not.
    """
    document = json.loads(pattern)
    detail = document.get("detail", {})
    names = detail.get("bucket", {}).get("name", [bucket])
    keys = detail.get("object", {}).get("key", [{"prefix": ""}])
    heard = [each["prefix"] for each in keys if isinstance(each, dict) and isinstance(each.get("prefix"), str)]
    return (
        set(document) <= {"source", "detail-type", "detail"}
        and set(detail) <= {"bucket", "object"}
        and "aws.s3" in document.get("source", ["aws.s3"])
        and "Object Created" in document.get("detail-type", ["Object Created"])
        and bucket in names
        and any(prefix.startswith(each) for each in heard)
    )


def same_source(pattern: str, other: dict[str, Any]) -> bool:
    """Whether a rule's pattern matches the source and detail type of another pattern."""
    document = json.loads(pattern)
    fields = [field for field in ("source", "detail-type") if field in document]
    return all(set(other.get(field, [])) <= set(document[field]) for field in fields)


def _pattern(bucket: str, prefixes: list[str]) -> str:
    detail: dict[str, Any] = {"bucket": {"name": [bucket]}}
    if "" not in prefixes:
        detail["object"] = {"key": [{"prefix": prefix} for prefix in prefixes]}
    document = {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": detail}
    return json.dumps(document, separators=(",", ":"), sort_keys=True)


def _shorter(prefix: str) -> str:
    """`a/b/c/` -> `a/b/`, `a/` -> ""."""
    parent = prefix.rstrip("/").rpartition("/")[0]
    return f"{parent}/" if parent else ""
