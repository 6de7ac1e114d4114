"""What every object store does: the fake and S3 alike."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.errors import NotFoundError
from chalicelib.ports import ObjectStore


def test_what_was_put_is_read_whole_with_its_etag(objects: ObjectStore) -> None:
    etag = objects.put("data", "a/b.json", b'{"x": 1}')
    stored = objects.get("data", "a/b.json")
    assert stored.body == b'{"x": 1}'
    assert stored.etag == etag == hashlib.md5(b'{"x": 1}').hexdigest()
    assert stored.kms_key_id is None
    assert stored.last_modified.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - stored.last_modified) < timedelta(minutes=1)


def test_an_object_that_is_not_there(objects: ObjectStore) -> None:
    with pytest.raises(NotFoundError, match="s3://data/nothing"):
        objects.get("data", "nothing")


def test_put_replaces_and_changes_the_etag(objects: ObjectStore) -> None:
    first = objects.put("data", "k", b"one")
    second = objects.put("data", "k", b"two")
    assert first != second
    assert objects.get("data", "k").body == b"two"


def test_put_if_absent_writes_once(objects: ObjectStore) -> None:
    assert objects.put_if_absent("data", "k", b"one") is True
    assert objects.put_if_absent("data", "k", b"two") is False
    assert objects.get("data", "k").body == b"one"
    objects.delete("data", "k")
    assert objects.put_if_absent("data", "k", b"three") is True


@pytest.mark.parametrize("conditional", [False, True])
def test_the_kms_key_travels_with_the_object(objects: ObjectStore, conditional: bool) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    write = objects.put_if_absent if conditional else objects.put
    write("data", "k", b"payload", kms_key_id=key)
    assert objects.get("data", "k").kms_key_id == key


def test_listing_is_in_key_order_over_all_pages(objects: ObjectStore) -> None:
    names = [f"p/{i * 7919 % 1003:04d}" for i in range(1003)]  # more than S3's page of 1000, in no order
    for name in names:
        objects.put("data", name, b"x")
    objects.put("data", "q/other", b"x")
    listed = list(objects.list("data", "p/"))
    assert [entry.key for entry in listed] == sorted(names)
    assert {entry.size for entry in listed} == {1}
    assert listed[0].etag == hashlib.md5(b"x").hexdigest()


def test_listing_orders_by_utf8_bytes(objects: ObjectStore) -> None:
    names = ["a\U0001f600", "a\uffee", "aé", "aZ", "a~"]
    for name in names:
        objects.put("data", name, b"x")
    assert [entry.key for entry in objects.list("data", "a")] == sorted(names, key=lambda name: name.encode())


def test_keys_are_plain_text(objects: ObjectStore) -> None:
    key = "capture/a b+c%2Fd=é/é.jsonl"
    objects.put("data", key, b"x")
    assert [entry.key for entry in objects.list("data", "capture/a b+")] == [key]
    assert objects.get("data", key).body == b"x"


def test_nothing_under_a_prefix(objects: ObjectStore) -> None:
    assert list(objects.list("data", "none/")) == []


def test_delete_and_delete_again(objects: ObjectStore) -> None:
    objects.put("data", "k", b"x")
    objects.delete("data", "k")
    objects.delete("data", "k")
    assert list(objects.list("data", "")) == []
