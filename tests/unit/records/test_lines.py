"""Lines of a block and their masks, held to the lines themselves."""

import json

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.records.lines import BROKEN, QUOTED, Lines, blocks_of, read_masked, unmask

text = st.text(alphabet='ab,:"\\\n\té', max_size=12)
lines = st.lists(st.dictionaries(text, text, max_size=3).map(json.dumps), min_size=1, max_size=12)
printable = {*range(32, 127)}


def block_of(texts: list[str], size: int = 1 << 16) -> Lines:
    [found] = list(blocks_of([("\n".join(texts) + "\n").encode()], lambda: size))
    assert isinstance(found, Lines)
    return found


@given(lines, st.booleans())
@example(["", "\x7f", '"\\\\"', "é"], False)
def test_lines_are_told_by_what_is_in_them(texts: list[str], raw: bool) -> None:
    texts = [each.replace("\\t", "\t") for each in texts] if raw else texts
    found = block_of(texts)
    encoded = [each.encode() for each in texts]
    assert [found.line(index) for index in range(len(texts))] == encoded
    assert found.odd.tolist() == [not printable.issuperset(each) for each in encoded]
    assert found.escaped.tolist() == [b"\\" in each for each in encoded]
    assert found.quotes == sum(each.count(b'"') for each in encoded)
    assert bytes(found.buffer[found.escapes]) == b"\\" * sum(each.count(b"\\") for each in encoded)


@given(lines)
@example(['{"a": "\\\\"}', '{"a": "\\n\\""}'])
def test_masked_lines_have_quotes_only_where_texts_begin_and_end(texts: list[str]) -> None:
    found = block_of(texts)
    indices = np.flatnonzero(found.escaped & ~found.odd)
    if not len(indices):
        return
    masked = found.masked(indices)
    some = [texts[index] for index in indices.tolist()]
    assert [unmask(masked.line(row)).decode() for row in range(len(some))] == some
    assert masked.quotes_before == sum(each.count('"') for each in some)
    assert set(masked.buffer[masked.quotes].tolist()) <= {ord('"')}
    assert set(masked.buffer[masked.masks].tolist()) <= {QUOTED, BROKEN}
    for row, each in enumerate(some):
        usual = each.replace('\\"', "").replace("\\n", "")
        assert masked.odd[row] == ("\\" in usual)
        if masked.odd[row]:
            continue
        said = json.loads(each)
        assert masked.line(row).count(b'"') == 4 * len(said)
        texts_of_line = masked.line(row).split(b'"')[1::2]
        inside = [each for pair in said.items() for each in pair]
        assert [read_masked(one).decode() for one in texts_of_line] == inside
