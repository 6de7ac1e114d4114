"""API Gateway for the label webhook, played by Chalice's test client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chalice.test import Client

from demo.stream import ROOT

Post = Callable[[str, Mapping[str, str], bytes], int]


def poster(app: Any) -> Post:
    """A function (path, headers, body) -> status that posts to the routes of the app's module."""
    client = Client(app.app, project_dir=str(ROOT))

    def post(path: str, headers: Mapping[str, str], body: bytes) -> int:
        return int(client.http.post(path, headers=dict(headers), body=body).status_code)

    return post
