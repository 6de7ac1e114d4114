"""`plumbline baseline` on Parquet: the same data set as CSV gives the same files."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plumbline.cli.main import main

CSV = """age,plan,score,lapsed,price,since,day
41,basic,0.25,true,138.25,2026-01-01T06:00:00,2026-01-01
,plus,1.5,false,100.00,2026-01-01T07:00:00,2026-01-02
29,basic,,true,0.50,2026-01-01T08:00:00,2026-01-03
"""
COLUMNS: dict[str, Any] = {
    "age": [41, None, 29],
    "plan": pa.array(["basic", "plus", "basic"]).dictionary_encode(),
    "score": [0.25, 1.5, None],
    "lapsed": [True, False, True],
    "price": [Decimal("138.25"), Decimal("100.00"), Decimal("0.50")],
    "since": [datetime(2026, 1, 1, hour) for hour in (6, 7, 8)],
    "day": [date(2026, 1, day) for day in (1, 2, 3)],
}


def made(tmp_path: Path, name: str) -> dict[str, bytes]:
    out = tmp_path / f"{name}.out"
    assert main(["baseline", str(tmp_path / name), "--out", str(out)]) == 0
    return {path.name: path.read_bytes() for path in (out / "data_quality").iterdir()}


def test_the_same_data_set_as_csv_gives_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(CSV)
    pq.write_table(pa.table(COLUMNS), tmp_path / "table.parquet")
    assert made(tmp_path, "table.parquet") == made(tmp_path, "table.csv")


def test_the_index_of_a_pandas_frame_is_no_column_and_text_may_be_bytes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [41, 29, 35], "plan": [b"basic", b"basic", b"plus"]}, index=[7, 0, 3])
    frame.to_parquet(tmp_path / "frame.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "frame.parquet").names
    (tmp_path / "table.csv").write_text("age,plan\n41,basic\n29,basic\n35,plus\n")
    assert made(tmp_path, "frame.parquet") == made(tmp_path, "table.csv")


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16()])
def test_numbers_of_fewer_bits_are_those_of_their_text(tmp_path: Path, kind: pa.DataType) -> None:
    numbers = pa.array([0.1, 1.3, None, 3.0], kind)
    pq.write_table(pa.table({"x": numbers}), tmp_path / "table.parquet")
    (tmp_path / "table.csv").write_text('x\n0.1\n1.3\n""\n3.0\n')
    assert made(tmp_path, "table.parquet") == made(tmp_path, "table.csv")


def test_numbers_of_fewer_bits_in_a_dictionary_are_those_of_their_text(tmp_path: Path) -> None:
    numbers = pa.array([0.1, 1.3, 0.1], pa.float32()).dictionary_encode()
    pq.write_table(pa.table({"x": numbers}), tmp_path / "table.parquet")
    (tmp_path / "table.csv").write_text("x\n0.1\n1.3\n0.1\n")
    assert made(tmp_path, "table.parquet") == made(tmp_path, "table.csv")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"PAR1 and nothing more", "table.parquet: is not Parquet"),
        (None, "table.parquet: column 'photo' has bytes; expected numbers, texts, true and false, times"),
    ],
)
def test_what_cannot_be_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: bytes | None, message: str
) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"photo": [b"\xff\xd8"]}), path)
    if body is not None:
        path.write_bytes(body)
    assert main(["baseline", str(path), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_two_columns_of_one_name_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["x", "y", "x"]), path)
    assert main(["baseline", str(path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"plumbline: {path}: columns 1 and 3 have the same name\n"


def test_a_column_without_a_name_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": [1], "": [2]}), path)
    assert main(["baseline", str(path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"plumbline: {path}: column 2 has no name\n"
