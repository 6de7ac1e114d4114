"""The failure of a fake service that no Protocol names, as a client's own exception would be."""

from __future__ import annotations


class ServiceError(Exception):
    """Stands for botocore's ClientError: `code` is AWS's word. Handlers let it through; the queue delivers again."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
