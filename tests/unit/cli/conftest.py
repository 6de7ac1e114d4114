"""A table, its baseline, captures and labels, on disk and in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib import wiring
from emulator.memory import memory_services
from tests.unit.cli.evaluating import (
    BINARY,
    ROWS,
    START,
    call,
    label,
    line,
    write,
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "table.csv", ["a,b,p,y", *(",".join(map(str, row)) for row in ROWS)])


@pytest.fixture
def baseline(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    call(capsys, 0, "baseline", table, *BINARY, "p", "--ground-truth-attribute", "y", "--out", tmp_path / "baseline")
    return tmp_path / "baseline"


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    """The table's rows as captures of two hours, in an endpoint's folders."""
    for hour in range(2):
        lines = [
            line(n, f"{row[0]},{row[1]}", str(row[2]), n % 60 + 60 * hour)
            for n, row in enumerate(ROWS)
            if n // 200 == hour
        ]
        write(tmp_path / f"captures/churn/AllTraffic/2022/04/01/{10 + hour}/00-00.jsonl", lines)
    return tmp_path / "captures"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    write(tmp_path / "labels/2022/04/01/12/a.jsonl", [label(n, row[3]) for n, row in enumerate(ROWS)])
    return tmp_path / "labels"


@pytest.fixture
def bucket(captures: Path, labels: Path, baseline: Path) -> Iterator[None]:
    services = memory_services(lambda: START)
    for folder in (captures, labels, baseline):
        for path in folder.rglob("*.json*"):
            key = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            services.objects.put("data", key, path.read_bytes())
    services.objects.put("data", "captures-of-another/x.jsonl", b"no json\n")
    wiring.use(services)
    yield
    wiring.use(None)
