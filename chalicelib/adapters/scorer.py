"""SageMaker runtime: InvokeEndpoint, with request and answer kept out of exceptions."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import NotFoundError, UnavailableError


class EndpointScorer:
    """`ports.Scorer` over a SageMaker runtime client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def invoke(self, endpoint: str, body: bytes, *, content_type: str, accept: str) -> bytes:
        """The endpoint's answer to one request. Raises NotFoundError for an endpoint that does not exist.

        Any other refusal raises UnavailableError with AWS's code; an error inside the model container, with the
        container's status only: AWS's ModelError quotes its answer, which may quote the request, and that is payload.
        """
        status: int | None = None
        try:
            answer = self._client.invoke_endpoint(
                EndpointName=endpoint, Body=body, ContentType=content_type, Accept=accept
            )
        except ClientError as error:
            code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
            if code in ("ValidationError", "ValidationException") and "not found" in text:
                raise NotFoundError(f"endpoint {endpoint}: no such endpoint") from error
            if code != "ModelError":
                raise UnavailableError(f"endpoint {endpoint}: {code}: {text}") from error
            status = error.response.get("OriginalStatusCode", 0)
        except BotoCoreError as error:  # no connection, or no answer in time
            raise UnavailableError(f"endpoint {endpoint}: {type(error).__name__}") from error
        if status is not None:  # outside the handler above, so that the quoting error is not its __context__
            raise UnavailableError(f"endpoint {endpoint}: the model container answered with status {status}")
        with answer["Body"] as stream:
            result: bytes = stream.read()
        return result
