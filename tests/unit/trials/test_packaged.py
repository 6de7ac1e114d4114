"""The packaged functions' processes: they have the zips and the standard library, and tell what they did."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from emulator.clock import LogicalClock
from infra.package import FUNCTIONS_ZIP, LAYER_ZIP, MANIFEST, Package
from trials.packaged.functions import PackagedError, PackagedFunctions

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"

# An app that answers what it sees: its layer, the time, and whether anything else can be imported.
APP = """
import importlib.util, os
import layered
from chalicelib import wiring

def window_due(event, context):
    if event == "end":
        os._exit(7)
    if event == "fail":
        raise ValueError("not today")
    foreign = [name for name in ("numpy", "pytest", "local", "infra") if importlib.util.find_spec(name)]
    return {"event": event, "name": context.function_name, "now": wiring.services.now().isoformat(),
            "layer": layered.VALUE, "foreign": foreign, "left": context.get_remaining_time_in_millis() > 0}

app = lambda event, context: {"statusCode": 202, "body": event["body"], "headers": {}, "multiValueHeaders": {}}
"""
WIRING = """
class LazyServices:
    def __init__(self, settings, now):
        self.now = now

def use(found):
    global services
    services = found
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackagedFunctions]:
    with zipfile.ZipFile(tmp_path / FUNCTIONS_ZIP, "w") as archive:
        archive.writestr("app.py", APP)
        archive.writestr("chalicelib/__init__.py", "")
        archive.writestr("chalicelib/settings.py", "def load(): return None\n")
        archive.writestr("chalicelib/wiring.py", WIRING)
    with zipfile.ZipFile(tmp_path / LAYER_ZIP, "w") as archive:
        archive.writestr(f"python/lib/{RUNTIME}/site-packages/layered.py", "VALUE = 'from the layer'\n")
    (tmp_path / MANIFEST).write_text(json.dumps({"python": sys.executable, "runtime": RUNTIME}))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    made = PackagedFunctions(
        Package(tmp_path), "demo", lives=lambda _: 2, record=False, log=tmp_path / "functions.log"
    ).apart({}, LogicalClock(NOW))
    with made:
        yield made


def test_a_function_sees_the_zips_the_time_and_nothing_else(functions: PackagedFunctions) -> None:
    assert functions.window_due({"Records": []}, None) == {
        "event": {"Records": []},
        "name": "plumbline-demo-window_due",
        "now": NOW.isoformat(),
        "layer": "from the layer",
        "foreign": [],
        "left": True,
    }


def test_a_process_lives_for_some_events(functions: PackagedFunctions) -> None:
    for _ in range(5):
        functions.window_due({}, None)
    assert (len(functions.cold_starts["window_due"]), len(functions.warm["window_due"])) == (3, 2)
    assert all(each.importing > 0 for each in functions.cold_starts["window_due"])


def test_what_a_function_raises_is_the_callers_to_see(functions: PackagedFunctions) -> None:
    with pytest.raises(PackagedError, match="not today"):
        functions.window_due("fail", None)
    assert functions.window_due({}, None)["event"] == {}, "its process goes on"


def test_a_process_that_ends_is_an_error(functions: PackagedFunctions) -> None:
    with pytest.raises(PackagedError, match="the process of window_due ended"):
        functions.window_due("end", None)


def test_the_route_is_answered_by_the_package(functions: PackagedFunctions) -> None:
    assert functions.post("/ground-truth/churn", {"content-type": "application/json"}, b"[]") == 202


def test_only_functions_of_the_topology_are_there(functions: PackagedFunctions) -> None:
    with pytest.raises(AttributeError):
        _ = functions.window_done
