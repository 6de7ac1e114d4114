import numpy as np
import pytest

from chalicelib.records.json_rows import JsonRows
from chalicelib.records.texts import texts_of
from chalicelib.records.values import text_of


def _spellings() -> list[str]:
    draw = np.random.default_rng(7)
    # Halves between two texts of 16 digits, where shortest texts of other rules could differ from Python's.
    ties = (2 * draw.integers(0, 1 << 16, 300) + 1) / 2.0**17
    some = [*ties.tolist(), *draw.normal(size=300).tolist(), *(10.0 ** draw.uniform(-7, 18, 300)).tolist()]
    texts = [repr(value) for value in some]
    # One digit more, one unit more in the last place, and another way to write it.
    texts += (
        [f"{value:.17g}" for value in some] + [f"{value:.16f}" for value in some] + [f"{value:.3e}" for value in some]
    )
    for text in list(map(repr, ties.tolist())):
        texts += [text[:-1] + str((int(text[-1]) + step) % 10) for step in (1, 9)]
    return texts


@pytest.mark.parametrize("together", [1, 20, 1_000])
def test_a_number_of_json_counts_as_the_text_that_python_spells(together: int) -> None:
    spellings = _spellings()
    for start in range(0, len(spellings), together):
        some = spellings[start : start + together]
        rows = JsonRows((), 2, "application/json")
        found, fine = rows.csv(texts_of([f"[[{text},7]]".encode() for text in some]))
        assert fine.all()
        lines = [
            found.buffer[begin:end].tobytes().decode() for begin, end in zip(found.begins, found.ends, strict=True)
        ]
        wanted = [text_of(int(text) if text.lstrip("-").isdecimal() else float(text)) for text in some]
        assert lines == [f"{text},7" for text in wanted]


@pytest.mark.parametrize("quote", [b"\x01", b"\\\x01"], ids=["decoded", "in a line"])
@pytest.mark.parametrize("together", [1, 20])
def test_a_comma_in_a_text_is_no_comma_between_values(together: int, quote: bytes) -> None:
    texts = [b"[%s0.%d,1%s]" % (quote, number, quote) for number in range(together)]
    _, fine = JsonRows((), 0, "application/json").csv(texts_of(texts))
    assert not fine.any()
    texts = [b"[%s%s%s]" % (quote, b"x" * number, quote) for number in range(1, 40)]
    found, fine = JsonRows((), 0, "application/json").csv(texts_of(texts))
    assert fine.all()
    assert (found.ends - found.begins).tolist() == list(range(1, 40))
