"""How an endpoint's answers are read: canned ones in AWS's wording, for moto gives every endpoint the same."""

from __future__ import annotations

import io
import traceback
from collections.abc import Iterator
from unittest import mock

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from chalicelib.adapters.scorer import EndpointScorer
from chalicelib.errors import NotFoundError, PermanentError, UnavailableError

Aws = tuple[EndpointScorer, Stubber]


@pytest.fixture
def aws() -> Iterator[Aws]:
    client = boto3.client(
        "sagemaker-runtime", region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    with Stubber(client) as stubber:
        yield EndpointScorer(client), stubber


def _ask(scorer: EndpointScorer) -> bytes:
    return scorer.invoke("churn", b"1,secret\n", content_type="text/csv", accept="text/csv")


def test_the_answer_is_returned_whole(aws: Aws) -> None:
    scorer, stubber = aws
    stubber.add_response(
        "invoke_endpoint",
        {"Body": StreamingBody(io.BytesIO(b"0.25\n"), 5)},
        {"EndpointName": "churn", "Body": b"1,secret\n", "ContentType": "text/csv", "Accept": "text/csv"},
    )
    assert _ask(scorer) == b"0.25\n"


def test_an_endpoint_that_does_not_exist(aws: Aws) -> None:
    scorer, stubber = aws
    stubber.add_client_error("invoke_endpoint", "ValidationError", "Endpoint churn of account 123456789012 not found.")
    with pytest.raises(NotFoundError, match="endpoint churn"):
        _ask(scorer)


def test_the_containers_own_words_do_not_leave_the_adapter(aws: Aws) -> None:
    scorer, stubber = aws
    stubber.add_client_error(
        "invoke_endpoint",
        "ModelError",
        'Received client error (400) from primary with message "could not convert: secret".',
        response_meta={"HTTPHeaders": {}},
        modeled_fields={"OriginalStatusCode": 400, "OriginalMessage": "could not convert: secret"},
    )
    with pytest.raises(UnavailableError, match="status 400") as caught:
        _ask(scorer)
    assert not isinstance(caught.value, PermanentError)  # a container that starts up answers so too: deliver again
    assert "convert: secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ServiceUnavailable", "ModelNotReadyException", "AccessDenied"]
)
def test_a_refusal_keeps_the_code_of_aws(aws: Aws, code: str) -> None:
    scorer, stubber = aws
    stubber.add_client_error("invoke_endpoint", code, "later")
    with pytest.raises(UnavailableError, match=f"endpoint churn: {code}: later"):
        _ask(scorer)


def test_no_answer_in_time() -> None:
    client = mock.Mock()
    client.invoke_endpoint.side_effect = ReadTimeoutError(endpoint_url="https://runtime.sagemaker")
    with pytest.raises(UnavailableError, match="endpoint churn: ReadTimeoutError"):
        _ask(EndpointScorer(client))
