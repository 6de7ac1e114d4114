"""The page that the stage serves: who gets in, with what, and what stays in a browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

import msgspec
import pytest

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from chalicelib.handlers.page_asked import PageRequest, handle
from chalicelib.page_sessions import COOKIE, LONGEST, holds, session
from emulator.memory import SETTINGS
from plumbline.cli.main import main
from tests.unit.handlers.world import MONITOR, World, definition

KEY, OTHER = "a key of at least 24 characters", "another key, which is being rotated in"
PARAMETER = "/plumbline/test/page-key"
ROUTE = "/monitors/{monitor}"


@pytest.fixture
def world() -> World:
    found = World(definition())
    found.live(0)
    settings = msgspec.structs.replace(SETTINGS, page_key_parameter=PARAMETER)
    found.services = dataclasses.replace(found.services, settings=settings)
    found.services.secrets.values[PARAMETER] = f"{KEY.replace(' ', '-')} {OTHER.replace(' ', '-')}"
    return found


def key_of(text: str) -> str:
    return text.replace(" ", "-")


def ask(world: World, given: str = "", headers: Mapping[str, str] = {}, address: str = "") -> tuple[int, str, dict]:
    return handle(PageRequest(ROUTE, {"monitor": MONITOR}, address, given, headers), world.services)


def test_a_link_becomes_a_cookie_and_the_address_has_no_session_any_more(world: World) -> None:
    made = session(key_of(KEY), "test", world.clock.time)
    status, body, headers = ask(world, made, address=f"/api/monitors/{MONITOR}")
    assert (status, body, headers["Location"]) == (303, "", f"/api/monitors/{MONITOR}")
    cookie = headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}={made}; Path=/api; Max-Age=43200; ")
    assert cookie.endswith("Secure; HttpOnly; SameSite=Lax")
    sent = {"Cookie": f"other=1; {COOKIE}={made}"}
    status, body, headers = ask(world, headers=sent, address=f"/api/monitors/{MONITOR}")
    assert status == 200 and "<h1>churn</h1>" in body and 'href="/api/' in body and 'href="/monitors' not in body
    assert headers["Cache-Control"] == "no-store" and "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_programs_send_a_bearer_token(world: World) -> None:
    made = session(key_of(OTHER), "test", world.clock.time)
    assert ask(world, headers={"authorization": f"Bearer {made}"})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer 1.x"}, {"Cookie": f"{COOKIE}=\x00;;"}, {"Authorization": "Basic abc"}],
)
def test_nobody_else_gets_in(world: World, headers: Mapping[str, str]) -> None:
    status, body, _ = ask(world, headers=headers)
    assert status == 401 and "`plumbline page` prints a link" in body and MONITOR not in body


def test_a_session_ends_and_none_is_longer_than_half_a_day(world: World) -> None:
    now, keys = world.clock.time, [key_of(KEY)]
    made = session(keys[0], "test", now)
    assert holds(keys, "test", made, now) and not holds(keys, "test", made, now + LONGEST)
    assert not holds(keys, "prod", made, now)
    assert not holds(keys, "test", session(keys[0], "test", now, 2 * LONGEST), now)
    expires, _, signature = made.partition(".")
    assert not holds(keys, "test", f"{int(expires) + 1}.{signature}", now)
    world.clock.time = now + LONGEST + timedelta(seconds=1)
    assert ask(world, headers={"Authorization": f"Bearer {made}"})[0] == 401


def test_a_stage_without_a_key_has_no_page(world: World) -> None:
    world.services = dataclasses.replace(world.services, settings=SETTINGS)
    assert ask(world)[0] == 404
    world.services = dataclasses.replace(
        world.services, settings=msgspec.structs.replace(SETTINGS, page_key_parameter="/plumbline/test/page-key-2")
    )
    with pytest.raises(MisconfiguredError, match="the name of a secret that exists"):
        ask(world)


def test_a_short_key_lets_nobody_in(world: World) -> None:
    world.services.secrets.values[PARAMETER] = "short"
    with pytest.raises(MisconfiguredError, match="at least 24 characters"):
        ask(world, headers={"Authorization": f"Bearer 1767614400.{'0' * 64}"})


def test_the_command_prints_a_link_that_lets_in(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    wiring.use(world.services)
    try:
        assert main(["page", "--url", "https://abc.example/api/", "--hours", "2"]) == 0
        address, _, made = capsys.readouterr().out.strip().partition("/?session=")
        assert address == "https://abc.example/api"
        assert ask(world, made)[0] == 303
        for wrong in (["--url", "http://abc.example/api"], ["--url", "https://abc.example", "--hours", "13"]):
            assert main(["page", *wrong]) == 2
    finally:
        wiring.use(None)
