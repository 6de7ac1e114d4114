"""The Standard Webhooks scheme, against its own published example, the maintained library and every way to be wrong."""

from __future__ import annotations

import base64
import doctest
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from chalicelib import webhooks
from chalicelib.errors import MisconfiguredError, PermanentError
from chalicelib.webhooks import SignatureError, Verified, read_secret, sign, signed_headers, verify

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BODY = b'[{"id":"r-1","label":1}]'


def secret_of(seed: int, size: int = 32) -> str:
    key = bytes((seed + i) % 256 for i in range(size))
    return "whsec_" + base64.b64encode(key).decode()


KEY, OLD_KEY, FOREIGN_KEY = secret_of(1), secret_of(2), secret_of(3)


def headers_of(**changes: str) -> dict[str, str]:
    """Genuine headers for BODY with some replaced ("" leaves one out)."""
    headers = signed_headers([KEY], "msg_1", NOW, BODY)
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value}


def reason(headers: dict[str, str], body: bytes = BODY, now: datetime = NOW, secrets: tuple[str, ...] = (KEY,)) -> str:
    with pytest.raises(SignatureError) as caught:
        verify(secrets, headers, body, now)
    return caught.value.reason


def test_the_published_example():
    key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_example_of_the_module_holds():
    assert doctest.testmod(webhooks).failed == 0


printable_ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=256)


@given(key=st.binary(min_size=24, max_size=64), webhook_id=printable_ids, body=st.text(max_size=200))
def test_the_library_and_we_sign_alike_and_verify_each_other(key: bytes, webhook_id: str, body: str):
    secret = "whsec_" + base64.b64encode(key).decode()
    library, now = Webhook(secret), datetime.now(UTC)  # the library asks the wall clock
    ours = signed_headers([secret], webhook_id, now, body.encode())
    theirs = library.sign(webhook_id, now, body)
    assert ours["webhook-signature"] == theirs
    library.verify(body, ours, json_parse=False)  # raises when it disagrees
    verified = verify([secret], {**ours, "webhook-signature": theirs}, body.encode(), now)
    assert verified == Verified(webhook_id, int(now.timestamp()))


@given(position=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_the_library_and_we_refuse_the_same_changed_body(position: int, bit: int):
    now = datetime.now(UTC)
    headers = signed_headers([KEY], "msg_1", now, BODY)
    changed = bytearray(BODY)
    changed[position] ^= 1 << bit
    with pytest.raises(SignatureError):
        verify([KEY], headers, bytes(changed), now)
    with pytest.raises((WebhookVerificationError, UnicodeDecodeError)):
        Webhook(KEY).verify(bytes(changed), headers, json_parse=False)


def test_header_names_in_any_case():
    headers = {name.title(): value for name, value in headers_of().items()}
    assert verify([KEY], headers, BODY, NOW) == Verified("msg_1", int(NOW.timestamp()))
    assert verify([KEY], headers, BODY, NOW).signed_at == NOW


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(name: str):
    assert name in reason(headers_of(**{name: ""}))


@pytest.mark.parametrize(
    "stamp", ["soon", "1.5e9", "17000000.5", "-1", " 1", "٣", "1" * 12, "0x10", "+17", "01772366400", "0"]
)
def test_a_timestamp_is_whole_seconds(stamp: str):
    assert "whole seconds" in reason(headers_of(webhook_timestamp=stamp))


@pytest.mark.parametrize(
    "seconds, words",
    [(300, None), (301, "ago"), (-300, None), (-301, "ahead"), (300.5, "ago"), (86400, "ago"), (-86400, "ahead")],
)
def test_five_minutes_either_way(seconds: float, words: str | None):
    later = NOW + timedelta(seconds=seconds)
    if words is None:
        assert verify([KEY], headers_of(), BODY, later).webhook_id == "msg_1"
    else:
        assert words in reason(headers_of(), now=later)


def test_another_tolerance():
    later = NOW + timedelta(seconds=20)
    assert verify([KEY], headers_of(), BODY, later, timedelta(seconds=20)).webhook_id == "msg_1"
    with pytest.raises(SignatureError, match="more than 19 seconds"):
        verify([KEY], headers_of(), BODY, later, timedelta(seconds=19))


def test_an_id_of_256_characters_is_the_longest():
    for length, fits in ((256, True), (257, False)):
        headers = signed_headers([KEY], "m" * length, NOW, BODY)
        if fits:
            assert verify([KEY], headers, BODY, NOW).webhook_id == "m" * length
        else:
            assert "256" in reason(headers)


@pytest.mark.parametrize("webhook_id", ["two words", "line\nbreak", "é", "tab\t"])
def test_an_id_is_printable(webhook_id: str):
    assert "printable" in reason(signed_headers([KEY], webhook_id, NOW, BODY))


@pytest.mark.parametrize(
    "change",
    [
        {"webhook_id": "msg_2"},
        {"webhook_timestamp": str(int(NOW.timestamp()) + 1)},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v1"},
        {"webhook_signature": ","},
        {"webhook_signature": "v1,éé"},
        {"webhook_signature": "v1,\udce9"},
        {"webhook_signature": "v1a," + headers_of()["webhook-signature"].removeprefix("v1,")},
        {"webhook_signature": headers_of()["webhook-signature"].removeprefix("v1,")},
        {"webhook_signature": headers_of()["webhook-signature"][:-1]},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, str]):
    assert "no v1 signature" in reason(headers_of(**change))


def test_rotation_any_key_and_any_signature():
    both = signed_headers([OLD_KEY, KEY], "msg_1", NOW, BODY)
    assert len(both["webhook-signature"].split(" ")) == 2
    assert verify([KEY], both, BODY, NOW) == verify([OLD_KEY], both, BODY, NOW)
    old = signed_headers([OLD_KEY], "msg_1", NOW, BODY)
    assert verify([KEY, OLD_KEY], old, BODY, NOW) == verify([OLD_KEY, KEY], old, BODY, NOW)
    assert "no v1 signature" in reason(both, secrets=(FOREIGN_KEY,))
    asymmetric_too = headers_of(webhook_signature="v1a,AAAA " + headers_of()["webhook-signature"])
    assert verify([KEY], asymmetric_too, BODY, NOW).webhook_id == "msg_1"


def test_a_body_need_not_be_text():
    body = b"\xff\x00\x9c"
    assert verify([KEY], signed_headers([KEY], "msg_1", NOW, body), body, NOW).webhook_id == "msg_1"


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        KEY.removeprefix("whsec_"),
        "whsec_not base64!",
        secret_of(1, size=23),
        "whsk_" + "A" * 40,
        "whsec_é",
    ],
)
def test_a_key_that_is_none_is_a_misconfiguration_and_is_not_shown(secret: str):
    with pytest.raises(MisconfiguredError) as caught:
        verify([secret], headers_of(), BODY, NOW)
    shown = secret.removeprefix("whsec_")
    assert not shown or shown not in str(caught.value)
    assert "at least 24 bytes" in str(caught.value)


def test_no_key_at_all_verifies_nothing():
    with pytest.raises(MisconfiguredError):
        verify([], headers_of(), BODY, NOW)


def test_a_key_without_its_padding():
    unpadded = secret_of(1, size=25).rstrip("=")
    assert read_secret(unpadded) == bytes(range(1, 26))


def test_errors_are_permanent_and_tell_nothing_of_the_key():
    key = read_secret(KEY)
    expected = base64.b64encode(hmac.new(key, b"msg_2." + str(int(NOW.timestamp())).encode() + b"." + BODY,
                                         hashlib.sha256).digest()).decode()  # fmt: skip
    text = reason(headers_of(webhook_id="msg_2"))
    assert issubclass(SignatureError, PermanentError)
    assert expected not in text and KEY[6:] not in text and "msg_2" not in text
