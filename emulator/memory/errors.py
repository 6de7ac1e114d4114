"""A fake service's failure that no Protocol names, like a client's own exception."""

from __future__ import annotations


class ServiceError(Exception):
    """Stands for botocore's ClientError: `code` is AWS's word. Handlers let it through; the queue delivers again."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.response = {"Error": {"Code": code, "Message": text}}
