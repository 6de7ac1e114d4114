"""API Gateway for the label webhook and the page, played by Chalice's test client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chalice.test import Client

from demo.stream import ROOT

Post = Callable[[str, Mapping[str, str], bytes], int]
Get = Callable[[str, Mapping[str, str]], tuple[int, bytes]]


def poster(app: Any) -> Post:
    """A function (path, headers, body) -> status that posts to the routes of the app's module."""
    client = Client(app.app, project_dir=str(ROOT))

    def post(path: str, headers: Mapping[str, str], body: bytes) -> int:
        return int(client.http.post(path, headers=dict(headers), body=body).status_code)

    return post


def getter(app: Any) -> Get:
    """A function (path, headers) -> (status, body) that asks the routes of the app's module for a page."""
    client = Client(app.app, project_dir=str(ROOT))

    def get(path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        answer = client.http.get(path, headers=dict(headers))
        return int(answer.status_code), bytes(answer.body)

    return get
