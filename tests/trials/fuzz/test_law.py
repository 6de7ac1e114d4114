"""The law of the readers can be broken, in each of its points, and mutation gets past the formats."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chalicelib.errors import UnreadableError
from trials.fuzz.law import CANARY, Broken, Reader, Reading, examine, require
from trials.fuzz.mutation import mutate
from trials.fuzz.readers import READERS

ROOT = Path(__file__).parents[3]
CORPUS = ROOT / "trials/fuzz/corpus"


def refusing(text: str) -> Callable[[bytes], Reading]:
    def read(_: bytes) -> Reading:
        raise UnreadableError("file", text)

    return read


def raising(data: bytes) -> Reading:
    return Reading({}[data])


def endless(_: bytes) -> Reading:
    while True:
        try:
            re.fullmatch(r"([0-9]+)+x", "1" * 60)
        except Exception:  # a reader may catch what it likes
            continue


def unlike(_: bytes, count: itertools.count[int] = itertools.count()) -> Reading:  # noqa: B008
    return Reading(next(count))


def wrong(_: bytes) -> Reading:
    require(1 == 2, "one is two")
    return Reading(None)


@pytest.mark.parametrize(
    "read, law",
    [
        (raising, "named errors only: KeyError of test_law.py"),
        (endless, "speed"),
        (unlike, "deterministic"),
        (refusing(f"got {CANARY}"), "silence"),
        (lambda _: Reading(None, (f"reason: {CANARY}",)), "silence"),
        (refusing("half a pair: \ud800"), "messages"),
        (wrong, "one is two"),
    ],
)
def test_a_broken_law_is_seen(read: Callable[[bytes], Reading], law: str):
    with pytest.raises(Broken, match=law):
        examine(Reader(read, "json"), b"{}")


def test_a_hungry_reader_is_seen():
    # In a process of its own, because a peak stays.
    code = (
        "from trials.fuzz.law import *\n"
        "try: examine(Reader(lambda data: Reading(len(b'x' * 600_000_000)), 'json'), b'')\n"
        "except Broken as broken: print(broken)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True)
    assert process.stdout.startswith("memory: "), process.stderr


def test_a_named_error_is_no_fault():
    assert examine(Reader(refusing("expected JSON"), "json"), b"{") == ("UnreadableError", "file: expected JSON")
    assert examine(Reader(refusing(CANARY), "json", shows=True), b"{")[0] == "UnreadableError"


@pytest.mark.parametrize("reader", READERS)
def test_mutation_repeats_and_gets_past_the_format(reader: str):
    form = READERS[reader].form
    seeds = [path.read_bytes() for path in sorted((CORPUS / reader).iterdir())]

    def made() -> list[bytes]:
        return [mutate(seeds[n % len(seeds)], 65536, n, form, lambda data, _: data) for n in range(120)]

    inputs = made()
    assert made() == inputs
    assert len(set(inputs)) > 50, "most seeds give an input of their own"
    assert max(map(len, inputs)) <= 65536
    assert sum(CANARY.encode() in each for each in inputs) >= 1, "the canary is planted"


def test_some_of_what_mutation_makes_is_accepted():
    seeds = [path.read_bytes() for path in sorted((CORPUS / "merged").iterdir())]
    inputs = [mutate(seeds[0], 65536, seed, "jsonl", lambda data, _: b"") for seed in range(100)]
    kinds = [examine(READERS["merged"], each)[0] for each in inputs]  # type: ignore[index]
    assert kinds.count("read") > 20 and kinds.count("UnreadableError") > 10
