import json

import numpy as np
import pytest

from chalicelib.errors import UnreadableError
from chalicelib.records.attributes import Attributes
from chalicelib.records.ground_truth import Label
from chalicelib.records.merge import MergedRequest
from chalicelib.records.sample import answers, questions
from chalicelib.records.table import with_shared_classes
from tests.unit.records.building import captured

MULTICLASS = Attributes(problem_type="MulticlassClassification", features=("a", "b"), inference_attribute="0")


def sample(*asked):
    return [
        MergedRequest(captured(f"e{index}", text, "x"), Label(f"e{index}", "1")) for index, text in enumerate(asked)
    ]


def test_plain_csv_is_joined_and_everything_else_asked_as_it_came():
    asked = sample("1,2\n", "3,4\r\n5,6", "b,a\n7,8", json.dumps({"instances": [[9, 10]]}), "11,12")
    found = [(question.body.decode(), len(question.requests)) for question in questions(asked, ("a", "b"))]
    assert found == [("b,a\n7,8", 1), ('{"instances": [[9, 10]]}', 1), ("1,2\n3,4\r\n5,6\n11,12", 3)]
    assert [len(question.requests) for question in questions(sample("1,2", "a,b\n3,4"))] == [2]


def test_answers_of_several_questions_share_their_classes():
    asked = sample("1,2", json.dumps({"instances": [[9, 10]]}))
    one, other = questions(asked, MULTICLASS.features)
    tables = [answers(one, b'{"predictions": ["gold"]}', MULTICLASS, "m"), answers(other, b"silver\n", MULTICLASS, "m")]
    assert [table.classes for table in tables] == [("gold",), ("silver",)]
    shared = with_shared_classes(tables)
    assert np.concatenate([table.predictions for table in shared]).tolist() == [0.0, 1.0]
    with pytest.raises(UnreadableError, match="expected one answer per row"):
        answers(other, b"silver\ngold\n", MULTICLASS, "m")
