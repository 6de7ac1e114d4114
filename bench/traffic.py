"""Traffic for measurements: capture files and label files of one endpoint, the same bytes for the same arguments.

A record is about 482 bytes: 20 features (18 numbers, 2 texts, 1 % missing in two of them) or 100, one score. Labels
exist for 97 % of the events and come in another order. Mixed traffic has 5 % Base64, 5 % JSON and 5 % requests of three
rows. Files are written in parts, so that ten million records need no memory.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

PART = 20_000
LABELLED = 0.97
# The shapes of the 18 numeric columns of every 20: (kind, low, high, decimals).
NUMBERS = (
    *(("whole", 0, 1, 0), ("whole", 0, 9, 0), ("whole", 18, 90, 0), ("whole", 0, 500, 0), ("whole", 0, 100_000, 0)),
    *(("even", 0, 1, 4), ("even", 0, 100, 2), ("even", -5, 5, 3), ("even", 0, 1000, 1), ("even", 0, 1, 6)),
    *(("normal", 0, 1, 4), ("normal", 50, 10, 2), ("normal", -3, 2, 3), ("normal", 1000, 1, 3)),
    *(("skewed", 2, 1, 3), ("skewed", 1, 20, 2), ("skewed", 5, 1, 4), ("normal", 0, 1, 17)),
)
WORDS = (
    ("north", "south", "east", "west", "centre"),
    ("basic", "plus", "premium", "family", "student", "business", "trial", "old_plan"),
)
_ENVELOPE = (
    '{{"captureData":{{"endpointInput":{{"observedContentType":"{kind}","mode":"INPUT","data":{asked},"encoding":'
    '"{encoding}"}},"endpointOutput":{{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT","data":{answer},'
    '"encoding":"CSV"}}}},"eventMetadata":{{"eventId":"{event}","inferenceTime":"{time}"}},"eventVersion":"0"}}\n'
)
_LABEL = (
    '{{"groundTruthData":{{"data":"{label}","encoding":"CSV"}},"eventMetadata":{{"eventId":"{event}"}},'
    '"eventVersion":"0"}}\n'
)


def features(count: int) -> tuple[str, ...]:
    """The names of `count` features, a multiple of 20."""
    return tuple(f"x{place:02}" for place in range(count))


def write(folder: Path, records: int, *, width: int = 20, mixed: bool = False, seed: int = 2026) -> None:
    """Write captures.jsonl and labels.jsonl for `records` requests below `folder`; `seed` chooses another traffic."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "captures.jsonl").open("w") as captures, (folder / "labels.jsonl").open("w") as labels:
        for part in range(-(-records // PART)):
            size = min(PART, records - part * PART)
            lines, truth = _part(part, size, width, mixed, seed)
            captures.write("".join(lines))
            labels.write("".join(truth))


def _part(part: int, size: int, width: int, mixed: bool, seed: int) -> tuple[list[str], list[str]]:
    draw = np.random.Generator(np.random.PCG64([seed, part]))
    rows = 3 * size if mixed else size
    columns: list[list[str]] = []
    signal = np.zeros(rows)
    for group in range(width // 20):
        for shape in NUMBERS:
            numbers, texts = _numbers(draw, rows, shape)
            signal += (numbers - numbers.mean()) / (numbers.std() or 1.0) * (0.3 if group == 0 else 0.0)
            columns.append(texts)
        for words in WORDS:
            columns.append([words[index] for index in (draw.random(rows) ** 2 * len(words)).astype(int).tolist()])
        for place in (20 * group + 5, 20 * group + 11):
            for row in np.flatnonzero(draw.random(rows) < 0.01).tolist():
                columns[place][row] = ""
    scores = 1.0 / (1.0 + np.exp(-(signal - 0.5)))
    labels = (draw.random(rows) < scores).astype(int).tolist()
    answers = [repr(score) for score in scores.round(6).tolist()]
    table = list(zip(*columns, strict=True))
    kinds = draw.random(size).tolist() if mixed else [1.0] * size
    lines, truth, row = [], [], 0
    events = draw.bytes(16 * size).hex()
    for index in range(size):
        hexed = events[32 * index : 32 * index + 32]
        event = f"{hexed[:8]}-{hexed[8:12]}-{hexed[12:16]}-{hexed[16:20]}-{hexed[20:]}"
        time = f"2026-01-05T10:{index * 60 // size:02}:{index % 60:02}Z"
        count = 3 if 0.10 <= kinds[index] < 0.15 else 1
        kind, encoding = "text/csv", "CSV"
        asked = "\n".join([",".join(table[each]) for each in range(row, row + count)])
        if kinds[index] < 0.05:
            kind, encoding, asked = "application/octet-stream", "BASE64", b64encode(asked.encode()).decode()
        elif kinds[index] < 0.10:
            kind, encoding = "application/json", "JSON"
            asked = json.dumps({"instances": [{"features": [_json(text) for text in table[row]]}]})
        answer = "\n".join(answers[row : row + count])
        lines.append(
            _ENVELOPE.format(
                kind=kind, encoding=encoding, asked=json.dumps(asked), answer=json.dumps(answer), event=event, time=time
            )
        )
        label = ",".join(str(each) for each in labels[row : row + count])
        truth.append(_LABEL.format(label=label, event=event))
        row += count
    kept = np.flatnonzero(draw.random(size) < LABELLED)
    draw.shuffle(kept)
    return lines, [truth[index] for index in kept.tolist()]


def _numbers(
    draw: np.random.Generator, rows: int, shape: tuple[str, float, float, int]
) -> tuple[np.ndarray, list[str]]:
    kind, one, two, decimals = shape
    if kind == "whole":
        numbers = draw.integers(int(one), int(two) + 1, rows).astype(float)
        return numbers, [str(int(number)) for number in numbers.tolist()]
    if kind == "even":
        numbers = draw.uniform(one, two, rows)
    elif kind == "normal":
        numbers = draw.normal(one, two, rows)
    else:
        numbers = draw.gamma(one, two, rows)
    if decimals < 17:
        numbers = numbers.round(decimals)
    return numbers, [repr(number) for number in numbers.tolist()]


def _json(text: str) -> str | int | float | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def split(folder: Path, each: int) -> None:
    """captures.jsonl of a folder as files of `each` records in captures/."""
    (folder / "captures").mkdir(exist_ok=True)
    with (folder / "captures.jsonl").open("rb") as captures:
        for number, lines in enumerate(iter(lambda: list(islice(captures, each)), [])):
            (folder / "captures" / f"{number:08}.jsonl").write_bytes(b"".join(lines))


def pieces(path: Path, size: int = 1 << 18) -> Iterator[memoryview]:
    """A file in pieces of at most `size` bytes; each takes the place of the one before."""
    room = bytearray(size)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(room):
            yield memoryview(room)[:count]
