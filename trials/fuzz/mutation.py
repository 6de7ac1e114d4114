"""New inputs from old ones: changes to the tree behind the bytes, so that a reader's own checks are reached.

Parses JSON, JSON Lines or msgpack into nodes that can say what Python's values cannot (duplicate keys, NaN, a lone
surrogate, a number of 5,000 digits), changes some, also inside JSON, CSV or Base64 in a text, and writes them again.
The same input and seed give the same bytes. Knows the formats' field names and no reader.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from trials.fuzz.law import CANARY

# Field names and words of all formats that are read.
WORDS = tuple((Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split())


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-|P[0-9T]|[0-9]{13}$")


_LARGE = 60_000


class Token(str):
    """JSON text as it is to be written: a number, a constant, or what no value can say."""


class Pairs(list[list[Any]]):
    """An object as [key, value] pairs in order: keys may come twice."""


HOSTILE_TOKENS = tuple(
    Token(text)
    for text in (
        *("NaN", "Infinity", "-Infinity", "1e308", "-1e308", "1e309", "1e-400", "-0.0", "0.1", "1e5", "true", "null"),
        *("-1", "0", "1", "63", "64", "2147483648", "9007199254740993", "9223372036854775808", "18446744073709551616"),
        *("9" * 40, "-" + "9" * 400, "1" * 4400, "0x1", "1_000", "[]", "{}", '"\\ud800"', '"\\udc00\\ud800"'),
        *("[" * 90 + "]" * 90, "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000, "[[1],[1,2],[]]"),
        *("[" + "0," * 3000 + "0]", "[" + "[]," * 2000 + "{}]", "[" + "{}," * 1000 + '{"a":1}]'),
        "{" + ",".join(f'"k{index}":{index}' for index in range(400)) + "}",
        "[" + ",".join(f'{{"{index}":1}}' for index in range(2500)) + "]",
    )
)
HOSTILE_TIMES = (
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00", "1e999"),
    *("2026-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "99999999999999999", "253402300800000", "-1", "2026-W01-1"),
    *("2026-03-01T12:59:59.999999+05:30", "2900-01-01T00:00:00Z", "٣", "²", "1" * 5000, "P1D", "PT1H", "PT999999H"),
)
HOSTILE_TEXTS = (
    *("", " ", "\x00", "\ufeff", "\u2028", "\U0001f600", "'", '"', '"a', '"a"b', "\r", "a\r\nb", "\\", "{", "[", "nan"),
    *("NaN", "inf", "1e309", "-0", "1_0", "٣", "²", "1" * 400, "1" * 20000, "1" * 20000 + "x", "A" * 70000, "0" * 5000),
    *("1," * 2000, "1\n" * 2000, ",".join("ab" * 500), '"' * 1001, "((((" * 500, "[::0]", "[*]", "@", "a.b", "0", "99"),
    *("s3://bucket/prefix", "s3://b/", "{" * 3000, "-" * 5000, "a-" * 3000, "https://", "YWJj", "eyJhIjoxfQ==", "/w=="),
    *(CANARY, f"1,{CANARY}", f'{{"{CANARY}":1}}', f'"{CANARY}'),
)


def mutate(data: bytes, max_size: int, seed: int, form: str, mutate_bytes: Callable[[bytes, int], bytes]) -> bytes:
    """Another input of at most `max_size` bytes. `mutate_bytes` is the fuzzer's own mutation."""
    rng = random.Random(seed)
    if rng.random() < 0.12:
        return mutate_bytes(data, max_size)
    try:
        if form == "msgpack":
            changed = _packed(data, rng)
        elif form == "jsonl":
            changed = _lines(data, rng)
        else:
            changed = _text(data.decode("utf-8"), rng).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError, TypeError):
        return mutate_bytes(data, max_size)
    if rng.random() < 0.03:
        changed = rng.choice((b"\xef\xbb\xbf", b"\x00", b"\xff", b"\n", b" ")) + changed
    return changed if len(changed) <= max_size else mutate_bytes(data, max_size)


# JSON ----------------------------------------------------------------------------------------------------------------


def _parse(text: str) -> Any:
    return json.loads(
        text,
        object_pairs_hook=lambda pairs: Pairs([key, value] for key, value in pairs),
        parse_int=Token,
        parse_float=Token,
        parse_constant=Token,
    )


def _write(node: Any) -> str:
    if isinstance(node, Token):
        return str(node)
    if isinstance(node, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{_write(value)}" for key, value in node) + "}"
    if isinstance(node, list):
        return "[" + ",".join(_write(each) for each in node) + "]"
    if isinstance(node, bytes):
        return repr(node)
    return json.dumps(node, ensure_ascii=len(str(node)) % 2 == 0)


def _text(text: str, rng: random.Random, depth: int = 0) -> str:
    root = [_parse(text)]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _change(root, rng, depth)
    return _write(root[0])


def _lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    place = rng.choice([index for index, line in enumerate(lines) if line.strip()] or [0])
    line = lines[place]
    step = rng.random()
    if step < 0.72 and line.strip():
        lines[place] = _text(line.decode("utf-8"), rng).encode("utf-8", "surrogatepass")
    elif step < 0.80:
        lines[place : place + 1] = [line] * min(_LARGE // (len(line) + 1), rng.choice((2, 3, 25, 200, 20_000)))
    elif step < 0.86:
        del lines[place]
    elif step < 0.93:
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines.insert(place, rng.choice((b"", b"\r", b"\x00", b"{}", b"[]", b"\xff", line[: len(line) // 2])))
    return b"\n".join(lines)


# Trees ---------------------------------------------------------------------------------------------------------------


def _places(node: Any, found: list[tuple[list[Any], int]]) -> None:
    """(list, index) of every value below a node; a pair's value is at index 1."""
    for index, each in enumerate(node):
        holder, at = (each, 1) if isinstance(node, Pairs) else (node, index)
        found.append((holder, at))
        if isinstance(holder[at], list):
            _places(holder[at], found)


def _change(root: list[Any], rng: random.Random, depth: int) -> None:
    places: list[tuple[list[Any], int]] = []
    _places(root, places)
    holder, at = rng.choice(places)
    node = holder[at]
    step = rng.random()
    if isinstance(node, Pairs) and node and step < 0.45:
        _change_object(node, rng)
    elif isinstance(node, list) and not isinstance(node, Pairs) and node and step < 0.3:
        index = rng.randrange(len(node))
        # Trees stay small, and no branch is in one twice: the next change would grow both.
        most = _LARGE // (len(_write(node[index])) + 1)
        count = min(most, rng.choice((0, 2, 3, 40, 400, 20_000)))
        node[index : index + 1] = [_copy(node[index]) for _ in range(count)]
    elif isinstance(node, str) and _TIME.match(node) and step < 0.5:
        holder[at] = rng.choice(HOSTILE_TIMES)
    elif isinstance(node, str) and not isinstance(node, Token) and step < 0.6 and depth < 3:
        holder[at] = _inside(node, rng, depth)
    elif isinstance(node, bytes) and step < 0.8:
        holder[at] = _bytes(node, rng)
    elif step < 0.68:
        holder[at] = rng.choice(HOSTILE_TOKENS)
    elif step < 0.85:
        holder[at] = rng.choice(rng.choice((HOSTILE_TEXTS, HOSTILE_TEXTS, HOSTILE_TIMES, (CANARY,))))
    elif step < 0.92:
        other, there = rng.choice(places)
        holder[at] = _copy(other[there])
    elif step < 0.96:
        holder[at] = [node] if rng.random() < 0.5 else Pairs([[rng.choice(WORDS), node]])
    else:
        holder[at] = rng.choice(WORDS)


def _change_object(node: Pairs, rng: random.Random) -> None:
    pair = rng.choice(node)
    step = rng.random()
    if step < 0.25:
        node.remove(pair)
    elif step < 0.45:
        pair[0] = rng.choice(WORDS)
    elif step < 0.55:
        pair[0] = rng.choice(HOSTILE_TEXTS)[:3000]
    elif step < 0.70:
        other = rng.choice(node)
        pair[1], other[1] = other[1], pair[1]
    elif step < 0.80:
        node.append([pair[0], rng.choice(HOSTILE_TOKENS)])
    else:
        node.append([rng.choice(WORDS), rng.choice((*HOSTILE_TOKENS, *HOSTILE_TEXTS))])


def _copy(node: Any) -> Any:
    """No tree may hold itself."""
    if isinstance(node, Pairs):
        return Pairs([key, _copy(value)] for key, value in node)
    return [_copy(each) for each in node] if isinstance(node, list) else node


def _inside(text: str, rng: random.Random, depth: int) -> str:
    """Change what is in a text: Base64 of something, JSON, or fields between commas and line ends."""
    if len(text) >= 4 and len(text) % 4 == 0 and rng.random() < 0.7:
        try:
            inner = base64.b64decode(text, validate=True).decode("utf-8")
            return base64.b64encode(_inside(inner, rng, depth).encode("utf-8", "surrogatepass")).decode()
        except ValueError:
            pass
    if text[:1] in ("{", "["):
        try:
            return _text(text, rng, depth + 1)
        except (ValueError, RecursionError):
            pass
    step = rng.random()
    if step < 0.15:
        return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
    separator = "\n" if step < 0.4 else ","
    fields = text.split(separator)
    index = rng.randrange(len(fields))
    field = fields[index]
    most = _LARGE // (len(field) + 1)
    others = ([], [field] * 2, [field] * min(most, 9_000), [rng.choice(HOSTILE_TEXTS)], [rng.choice(WORDS)])
    fields[index : index + 1] = rng.choice(others)
    return separator.join(fields)


# msgpack -------------------------------------------------------------------------------------------------------------


def _packed(data: bytes, rng: random.Random) -> bytes:
    root = [_node(msgspec.msgpack.decode(data))]
    for _ in range(rng.choice((1, 1, 2))):
        _change(root, rng, 0)
    return msgspec.msgpack.encode(_plain(root[0]))


def _node(value: Any) -> Any:
    if isinstance(value, dict):
        return Pairs([key, _node(each)] for key, each in value.items())
    return [_node(each) for each in value] if isinstance(value, list | tuple) else value


def _plain(node: Any) -> Any:
    if isinstance(node, Token):
        value = json.loads(node)
        # msgpack has whole numbers of 64 bits.
        return value if not isinstance(value, int) or -(1 << 63) <= value < 1 << 64 else float(1 << 70)
    if isinstance(node, Pairs):
        return {key: _plain(value) for key, value in node}
    if isinstance(node, list):
        return [_plain(each) for each in node]
    return node.encode("utf-8", "replace").decode() if isinstance(node, str) else node


def _bytes(body: bytes, rng: random.Random) -> bytes:
    if body[:1] in (b"{", b"["):
        try:
            return _lines(body, rng)
        except (ValueError, RecursionError):
            pass
    index = rng.randrange(len(body) + 1)
    middle = rng.choice((b"", b"\x00", b"\xff" * 8, bytes(rng.randrange(256) for _ in range(8)), body[:8]))
    return body[:index] + middle + body[index + rng.choice((0, 1, 8)) :]
