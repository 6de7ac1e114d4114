"""Loaded by schemathesis in its own environment: makes drawn calls worth answering, and notes each with its answer.

Most calls go to the endpoint that has a monitor and are signed anew over the bytes that are sent; every eighth goes out
as it was drawn. The signature is made here from the specification and not with the code that is tried.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import time
from typing import Any

import schemathesis
from requests import PreparedRequest, Response
from requests.auth import AuthBase

KEY = base64.b64decode(os.environ["OPENAPI_FUZZ_KEY"].removeprefix("whsec_"))
LOG = os.environ["OPENAPI_FUZZ_LOG"]
ENDPOINT = os.environ["OPENAPI_FUZZ_ENDPOINT"]
AS_DRAWN = 8

count = itertools.count()


class Signer(AuthBase):
    """requests calls it with the bytes that will be sent."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        number = next(count)
        request.register_hook("response", note)
        if number % AS_DRAWN == 0 or request.method != "POST":
            return request
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        # Drawn ids are seldom different; now and then one is kept, for a repeat and another body under the same id.
        drawn = request.headers.get("webhook-id", "")
        name = drawn if number % 5 == 0 and drawn else f"fuzz-{number}"
        name = name.decode("latin-1") if isinstance(name, bytes) else name
        stamp = str(int(time.time()))
        content = b".".join((name.encode("latin-1"), stamp.encode(), body))
        signature = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
        start, path, _ = (request.url or "").partition("/ground-truth/")
        request.url = f"{start}{path}{ENDPOINT}"
        request.headers.update({"webhook-id": name, "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"})
        return request


def note(response: Response, *_: Any, **__: Any) -> None:
    sent = response.request.headers.get("webhook-id", "")
    sent = sent.decode("latin-1") if isinstance(sent, bytes) else sent
    line = json.dumps([response.request.method, response.request.path_url, sent, response.status_code])
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(line + "\n")


schemathesis.auth.set_from_requests(Signer())


@schemathesis.serializer("application/jsonlines", "application/x-ndjson")
def lines(context: Any, value: Any) -> Any:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()
