"""`make openapi-fuzz`: schemathesis draws calls from the served OpenAPI document; what it cannot see is judged here.

It holds every answer to the document (statuses, content types, schemas) and none to be 5xx. Afterwards the storage is
looked at from outside: it must hold the calls that were answered 202, and nothing of any other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from emulator.label_server import ENDPOINT, NEW_KEY, LabelServer, definition, label_server

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Fewer of either would say that the calls were not worth their time.
LEAST = 10


def main(arguments: list[str] | None = None) -> int:
    """Run schemathesis and judge; 0: all held, 1: something did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.openapi")
    parser.add_argument("schemathesis", help="the program, in an environment of its own")
    parser.add_argument("--examples", type=int, default=200, help="for each operation and phase")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(arguments)
    # Texts are labels of a multiclass model, so most of what the document allows is accepted.
    with (
        tempfile.TemporaryDirectory() as folder,
        label_server(definition("MulticlassClassification"), PLUMBLINE_WEBHOOK_IAM="yes") as server,
    ):
        log = Path(folder) / "calls.jsonl"
        log.touch()
        command = [
            str(Path(options.schemathesis).absolute()),
            "--config-file",
            str(Path(__file__).with_name("schemathesis.toml")),
            "run",
        ]
        command += [f"{server.url}/openapi.json", "--url", server.url]
        command += ["--checks", ",".join(CHECKS), "--max-examples", str(options.examples), "--no-color"]
        command += [
            "--generation-database",
            "none",
            *(["--seed", str(options.seed)] if options.seed is not None else []),
        ]
        environment = {
            "SCHEMATHESIS_HOOKS": str(Path(__file__).with_name("hooks.py")),
            "OPENAPI_FUZZ_KEY": NEW_KEY,
            "OPENAPI_FUZZ_LOG": str(log),
            "OPENAPI_FUZZ_ENDPOINT": ENDPOINT,
        }
        done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=False)
        calls = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        wrong = faults(server, calls)
    by_status = Counter(status for *_, status in calls)
    print(
        f"{len(calls)} calls: " + ", ".join(f"{count} answered {status}" for status, count in sorted(by_status.items()))
    )
    for each in wrong:
        print(f"FAIL: {each}")
    return 1 if done.returncode or wrong else 0


def faults(server: LabelServer, calls: list[tuple[str, str, str, int]]) -> list[str]:
    """What the storage holds and should not, or the reverse, in sentences."""
    accepted = {webhook_id for *_, webhook_id, status in calls if status == 202}
    refused = sum(status >= 400 for *_, status in calls)
    receipts = server.receipts()
    named = {key for receipt in receipts.values() for _, key in receipt.objects}
    stored = set(server.stored())
    found = []
    if set(receipts) != accepted:
        found.append(f"{len(set(receipts) ^ accepted)} receipts without a call that was accepted, or the reverse")
    if stored != named:
        found.append(f"{len(stored ^ named)} objects without a receipt, or the reverse")
    if min(len(accepted), refused) < LEAST:
        found.append(f"{len(accepted)} calls accepted and {refused} refused; expected at least {LEAST} of each")
    if any(status >= 500 for *_, status in calls):
        found.append("an answer of 5xx")
    print(f"{len(accepted)} calls accepted, {len(stored)} objects stored; {refused} refused, nothing of them stored")
    return found


if __name__ == "__main__":
    sys.exit(main())
