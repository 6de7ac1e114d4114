"""The order of the floors, read from the source: who may import what, and who may call what.

Each rule is a function from a module's place and text to sentences about what breaks it. Each is run over every module
that it is about, and once over a text that breaks it, so that no rule can hold by accident.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from chalicelib.topology import SOURCES

ROOT = Path(__file__).resolve().parent.parent

Rule = Callable[[str, str], list[str]]

PURE = ("records", "states", "monitors", "evidence", "evaluation", "decisions")
# What people see: made of what these return, and read by nothing pure.
PAGES = ("records", "states", "monitors", "evidence", "evaluation", "pages")
PURE_PACKAGES = {"numpy", "msgspec", "jmespath"}
# The part of the standard library that reaches out of the process, or gives another answer each time.
IMPURE_STDLIB = {
    *("os", "time", "random", "logging", "secrets", "uuid", "socket", "ssl", "http", "urllib", "subprocess"),
    *("threading", "multiprocessing", "asyncio", "concurrent", "pathlib", "shutil", "tempfile", "glob", "sqlite3"),
    *("signal", "platform", "getpass", "locale", "importlib", "ctypes", "pickle", "shelve"),
}
# numpy's global generator has no seed argument; these are given one.
SEEDED = {"Generator", "PCG64", "SeedSequence", "default_rng"}

# Beside the port, errors and each other.
FACTS_IMPORT = {
    "counted_windows": {"evidence.assessment"},
    "due": {"records.window"},
    "standings": {"evidence.assessment"},
    "evaluations": {"states.maturity"},
    "monitors": {"keys", "definition"},
    "incidents": {"decisions.alert"},
    "deliveries": {"decisions.alert"},
}

# What judges evidence needs only what was measured; these three read more.
EVIDENCE_IMPORT = {
    "calibration": {"records.values"},
    "label_maturity": {"records.window"},
    "selection": {"monitors.chi_squared"},
}

# Who reads events, and who says which events reach whom.
EVENT_SHAPES = ("chalicelib/events.py", "chalicelib/topology.py", "plumbline/cli/account/bucket_rules.py")

EVENT_SOURCES = {source.function for source in SOURCES} | {"ground_truth_posted", "page_asked"}
# What cannot be taken back is called in one place only.
EFFECTS = {
    "start_pipeline": "retrain_claimed",
    "update_endpoint": "promotion_claimed",
    "ensure_endpoint": "promotion_claimed",
    "ensure_endpoint_config": "promotion_claimed",
    "ensure_model": "promotion_claimed",
    "set_approval": "promotion_claimed",
    "delete_endpoint": "promotion_claimed",
}

# One service per adapter, but secrets lie in either of two stores and are one thing to those who ask.
TWO_SERVICES = {"secrets": {"ssm", "secretsmanager"}}
NO_SERVICE = {"courier"}

CODE = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "chalicelib").rglob("*.py"))
CAPTURE = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "plumbline" / "capture").rglob("*.py"))
CLI = sorted({path.relative_to(ROOT).as_posix() for path in (ROOT / "plumbline").rglob("*.py")} - set(CAPTURE))
DEPLOYED = [*CODE, "app.py"]


class Import(NamedTuple):
    line: int
    module: str


# The reading of sources -----------------------------------------------------------------------------------------------


def imports(text: str) -> Iterator[Import]:
    """Every imported module; `from a.b import c` gives both a.b and a.b.c, for c may be a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (Import(node.lineno, f"{module}.{alias.name}") for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def dotted(node: ast.expr) -> str:
    """The text of a name such as datetime.datetime.now; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


def module_name(place: str) -> str:
    return Path(place).stem


def floor_of(place: str) -> str:
    parts = Path(place).parts
    return parts[1] if len(parts) > 2 else ""


# The rules ------------------------------------------------------------------------------------------------------------


def pure_imports(place: str, text: str) -> list[str]:
    floor = floor_of(place)
    floors = PAGES if floor == "pages" else PURE[: PURE.index(floor) + 1]
    allowed = {"chalicelib.errors", *(f"chalicelib.{floor}" for floor in floors)}
    wrong = []
    for line, module in imports(text):
        top = module.split(".")[0]
        if top == "chalicelib":
            fine = any(within(module, each) for each in allowed)
        else:
            fine = top in PURE_PACKAGES or (top in sys.stdlib_module_names and top not in IMPURE_STDLIB)
        if not fine:
            wrong.append(f"{place}:{line} imports {module}; {floor_of(place)} may import only to its left: {allowed}")
    return wrong


def no_unseeded_random(place: str, text: str) -> list[str]:
    wrong = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"(np|numpy)\.random", dotted(node.value)):
            if node.attr not in SEEDED:
                wrong.append(f"{place}:{node.lineno} uses numpy's global generator ({node.attr})")
        elif isinstance(node, ast.Call):
            name = dotted(node.func).rpartition(".")[2]
            if name in SEEDED and not (node.args or node.keywords):
                wrong.append(f"{place}:{node.lineno} calls {name}() without a seed")
    return wrong


def adapter_imports(place: str, text: str) -> list[str]:
    allowed = ("chalicelib.errors", "chalicelib.ports")
    wrong = []
    for line, module in imports(text):
        if within(module, "chalicelib") and not any(within(module, each) for each in allowed):
            wrong.append(f"{place}:{line} imports {module}; an adapter knows its service, errors and ports")
        if within(module, "boto3") or module.split(".")[0] in ("os", "chalice"):
            wrong.append(f"{place}:{line} imports {module}; an adapter is given its client")
    return wrong


def facts_imports(place: str, text: str) -> list[str]:
    more = FACTS_IMPORT.get(module_name(place), set())
    allowed = {f"chalicelib.{name}" for name in ("ports", "errors", "facts", "records.times", *more)}
    wrong = []
    for line, module in imports(text):
        top = module.split(".")[0]
        if top == "chalicelib":
            fine = any(within(module, each) for each in allowed)
        else:
            fine = top == "msgspec" or (top in sys.stdlib_module_names and top not in IMPURE_STDLIB)
        if not fine:
            wrong.append(f"{place}:{line} imports {module}; facts use only the ledger's port (and {more or 'no more'})")
    return wrong


def evidence_imports(place: str, text: str) -> list[str]:
    more = EVIDENCE_IMPORT.get(module_name(place), set())
    allowed = {f"chalicelib.{name}" for name in ("states", "evidence", *more)}
    wrong = []
    for line, module in imports(text):
        top = module.split(".")[0]
        if top == "chalicelib":
            fine = any(within(module, each) for each in allowed)
        else:
            fine = top in ("numpy", "msgspec") or (top in sys.stdlib_module_names and top not in IMPURE_STDLIB)
        if not fine:
            wrong.append(f"{place}:{line} imports {module}; evidence is judged from states (and {more or 'no more'})")
    return wrong


def handler_imports(place: str, text: str) -> list[str]:
    wrong = []
    for line, module in imports(text):
        if module.split(".")[0] in ("boto3", "botocore", "os", "chalice", "aws_lambda_powertools"):
            wrong.append(f"{place}:{line} imports {module}; handlers ask services, and app.py knows the machinery")
        if within(module, "chalicelib.adapters"):
            wrong.append(f"{place}:{line} imports {module}; wiring alone knows which adapter stands behind a port")
        if within(module, "chalicelib.handlers"):
            wrong.append(f"{place}:{line} imports {module}; no handler calls another, what they share is a workflow")
    return wrong


def chalicelib_stands_alone(place: str, text: str) -> list[str]:
    ours = ("emulator", "demo", "trials", "plumbline", "infra", "pipelines", "tests", "app", "examples")
    return [
        f"{place}:{line} imports {module}; what is deployed needs nothing beside chalicelib"
        for line, module in imports(text)
        if module.split(".")[0] in (*ours, "moto", "pytest") or module.startswith(".")
    ]


def capture_stands_alone(place: str, text: str) -> list[str]:
    """The capture writer runs in other people's services: nothing but the standard library, and boto3 for S3 alone."""
    wrong = []
    for line, module in imports(text):
        root = module.split(".")[0]
        ours = within(module, "plumbline.capture")
        s3 = root == "boto3" and place == "plumbline/capture/places.py"
        if not (ours or s3 or root in sys.stdlib_module_names):
            wrong.append(f"{place}:{line} imports {module}; plumbline.capture needs the standard library alone")
    tops = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    wrong += [
        f"{place}:{node.lineno} imports boto3 before it is needed" for node in tops if "boto3" in ast.unparse(node)
    ]
    return wrong


def no_word_of_the_emulator(place: str, text: str) -> list[str]:
    words = re.compile(r"\bemulator\b(?!/memory)|\bmoto\b|localstack", re.IGNORECASE)
    return [
        f"{place}:{number} says {found[0]!r}; the code cannot know where it runs"
        for number, line in enumerate(text.splitlines(), 1)
        if (found := words.search(line))
    ]


def aws_only_in_adapters(place: str, text: str) -> list[str]:
    if place == "chalicelib/wiring.py" or floor_of(place) == "adapters":
        return []
    return [
        f"{place}:{line} imports {module}; only wiring and adapters know AWS's client"
        for line, module in imports(text)
        if module.split(".")[0] in ("boto3", "botocore", "aiobotocore")
    ]


def environment_only_in_settings(place: str, text: str) -> list[str]:
    if place == "chalicelib/settings.py":
        return []
    wrong = []
    for line, module in imports(text):
        if module == "os" or module in ("os.environ", "os.getenv", "os.environb"):
            wrong.append(f"{place}:{line} imports {module}; only settings.py reads the environment")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and dotted(node) in ("os.environ", "os.getenv", "os.environb"):
            wrong.append(f"{place}:{node.lineno} reads {dotted(node)}; only settings.py reads the environment")
    return wrong


def event_shapes_only_in_events(place: str, text: str) -> list[str]:
    if place in EVENT_SHAPES:
        return []
    return [
        f"{place}:{node.lineno} says {node.value!r}; only events.py knows AWS's event shapes"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "detail-type" in node.value
    ]


def clock_only_in_wiring(place: str, text: str) -> list[str]:
    if place == "chalicelib/wiring.py":
        return []
    wrong = []
    for node in ast.walk(ast.parse(text)):
        name = dotted(node) if isinstance(node, ast.Attribute) else ""
        end = name.split(".")[-2:]
        if end[-1:] in (["utcnow"], ["today"]) or end in (["datetime", "now"], ["date", "today"]):
            wrong.append(f"{place}:{node.lineno} reads the clock ({name}); only wiring.py does")
        if name.startswith("time.") and name.split(".")[1] in ("time", "time_ns", "monotonic", "perf_counter", "sleep"):
            wrong.append(f"{place}:{node.lineno} reads the clock ({name}); only wiring.py does")
    for line, module in imports(text):
        if within(module, "time"):
            wrong.append(f"{place}:{line} imports {module}; only wiring.py knows the time")
    return wrong


def effects_in_their_handler(place: str, text: str) -> list[str]:
    if floor_of(place) == "adapters":
        return []  # they are the ones that are called
    wrong = []
    for node in ast.walk(ast.parse(text)):
        name = node.attr if isinstance(node, ast.Attribute) else ""
        if name in EFFECTS and place != f"chalicelib/handlers/{EFFECTS[name]}.py":
            wrong.append(f"{place}:{node.lineno} uses .{name}; only {EFFECTS[name]} may")
    return wrong


def short_functions(place: str, text: str) -> list[str]:
    """An event source has at most six lines of body; a helper at most six statements. Docstrings do not count."""
    wrong = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        # Blank lines around a nested function are its reader's, not work.
        blank = sum(not line.strip() for line in text.splitlines()[body[0].lineno - 1 : body[-1].end_lineno])
        if node.decorator_list and lines - blank > 6:
            wrong.append(f"{place}:{node.lineno} {node.name} has {lines - blank} lines; work belongs in its handler")
        if len(body) > 6:
            wrong.append(f"{place}:{node.lineno} {node.name} has {len(body)} statements; work belongs in a handler")
    return wrong


def wired_services(text: str) -> dict[str, set[str]]:
    """wiring.py's text -> adapter module -> the AWS services whose clients it is given."""
    wired: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef):
            continue
        part = ast.unparse(node)
        adapters = re.findall(r"from chalicelib\.adapters\.(\w+) import", part)
        for adapter in adapters:
            wired[adapter] = wired.get(adapter, set()) | set(re.findall(r"_client\(['\"]([\w-]+)['\"]\)", part))
    return wired


def one_service_each(place: str, text: str) -> list[str]:
    wrong = []
    owners: dict[str, str] = {}
    for adapter, services in wired_services(text).items():
        expected = TWO_SERVICES.get(adapter)
        count = 0 if adapter in NO_SERVICE else 1
        if services != expected if expected else len(services) != count:
            wrong.append(f"{place} gives the adapter {adapter} {sorted(services)}; one AWS service each")
        for service in services:
            if (owner := owners.setdefault(service, adapter)) and owner != adapter:
                wrong.append(f"{place} gives {service} to {adapter} and to {owner}")
    return wrong


# The rules over the code ----------------------------------------------------------------------------------------------


def places(*folders: str) -> list[str]:
    return [place for place in CODE if floor_of(place) in folders]


RULES: dict[Rule, list[str]] = {
    pure_imports: places(*PURE, "pages"),
    no_unseeded_random: DEPLOYED,
    adapter_imports: [place for place in places("adapters") if not place.endswith("__init__.py")],
    facts_imports: places("facts"),
    evidence_imports: places("evidence"),
    handler_imports: places("handlers", "workflows"),
    chalicelib_stands_alone: CODE,
    capture_stands_alone: CAPTURE,
    no_word_of_the_emulator: CODE,
    aws_only_in_adapters: [*DEPLOYED, *CLI],
    environment_only_in_settings: [*DEPLOYED, *CLI],
    event_shapes_only_in_events: [*DEPLOYED, *CLI],
    clock_only_in_wiring: [*DEPLOYED, *CLI],
    effects_in_their_handler: [*DEPLOYED, *CLI],
    short_functions: ["app.py"],
    one_service_each: ["chalicelib/wiring.py"],
}
CASES = [pytest.param(rule, place, id=f"{rule.__name__}-{place}") for rule, found in RULES.items() for place in found]


@pytest.mark.parametrize("rule, place", CASES)
def test_rule_holds(rule: Rule, place: str):
    wrong = rule(place, (ROOT / place).read_text(encoding="utf-8"))
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_rule_is_about_something():
    assert all(RULES.values())
    assert {floor_of(place) for place in CODE} == {"", *PURE, "pages", "facts", "adapters", "workflows", "handlers"}


def test_handlers_are_the_functions_of_the_app():
    files = {module_name(place) for place in places("handlers")} - {"__init__"}
    assert files == EVENT_SOURCES


def test_every_adapter_is_wired():
    files = {module_name(place) for place in places("adapters")} - {"__init__"}
    assert set(wired_services((ROOT / "chalicelib/wiring.py").read_text(encoding="utf-8"))) == files


def test_the_one_caller_of_each_effect_calls_it():
    for effect, handler in EFFECTS.items():
        text = (ROOT / f"chalicelib/handlers/{handler}.py").read_text(encoding="utf-8")
        assert f".{effect}(" in text, f"{handler} does not call {effect}: is the rule still true?"


# The rules can fail ---------------------------------------------------------------------------------------------------

DECISION, FACT = "chalicelib/decisions/decide.py", "chalicelib/facts/claims.py"
HANDLER, ADAPTER = "chalicelib/handlers/window_due.py", "chalicelib/adapters/topic.py"
SEVEN_LINES = "@app.route('/')\ndef f():\n" + "".join(f"    a{n} = {n}\n" for n in range(7))

BAD: list[tuple[Rule, str, str]] = [
    *(
        (pure_imports, place, text)
        for place, text in [
            (DECISION, "import boto3"),
            (DECISION, "import chalice"),
            (DECISION, "import scipy.stats"),
            (DECISION, "from aws_lambda_powertools import Logger"),
            (DECISION, "import os"),
            (DECISION, "from os import environ"),
            (DECISION, "import time"),
            (DECISION, "import random"),
            (DECISION, "import logging"),
            (DECISION, "from chalicelib import keys"),
            (DECISION, "from chalicelib.ports import Ledger"),
            (DECISION, "from chalicelib.adapters import ledger"),
            (DECISION, "from chalicelib.workflows.scoring import score"),
            (DECISION, "from chalicelib.facts.claims import RetrainClaim"),
            (DECISION, "def late():\n    import socket"),
            (DECISION, "from .policy import Policy"),
            ("chalicelib/records/merge.py", "from chalicelib.states.moments import Moments"),
            ("chalicelib/states/scores.py", "from chalicelib.monitors import broken"),
            ("chalicelib/evaluation/broken.py", "from chalicelib.decisions.policy import Policy"),
            ("chalicelib/evidence/selection.py", "from chalicelib.evaluation.measurement import Measurement"),
            ("chalicelib/pages/report.py", "from chalicelib.decisions.decide import decide"),
        ]
    ),
    (no_unseeded_random, DECISION, "import numpy as np\nnp.random.shuffle(rows)"),
    (no_unseeded_random, DECISION, "import numpy as np\nnp.random.default_rng()"),
    (no_unseeded_random, DECISION, "from numpy.random import default_rng\ndefault_rng()"),
    (adapter_imports, ADAPTER, "from chalicelib.adapters.queues import SqsQueues"),
    (adapter_imports, ADAPTER, "from chalicelib.decisions.policy import Policy"),
    (adapter_imports, ADAPTER, "from chalicelib.facts import claims"),
    (adapter_imports, ADAPTER, "import os"),
    (adapter_imports, ADAPTER, "import boto3"),
    (facts_imports, FACT, "from chalicelib.adapters.ledger import DynamoLedger"),
    (facts_imports, FACT, "from chalicelib.workflows import scoring"),
    (facts_imports, FACT, "from chalicelib.wiring import Services"),
    (facts_imports, FACT, "from chalicelib.decisions.policy import Policy"),
    (facts_imports, FACT, "from chalicelib import keys"),
    (facts_imports, FACT, "import boto3"),
    (facts_imports, "chalicelib/facts/due.py", "from chalicelib.records.capture import read_captures"),
    (evidence_imports, "chalicelib/evidence/shares.py", "import scipy.stats"),
    (evidence_imports, "chalicelib/evidence/shares.py", "import jmespath"),
    (evidence_imports, "chalicelib/evidence/alarms.py", "from chalicelib.records.table import Table"),
    (evidence_imports, "chalicelib/evidence/selection.py", "from chalicelib.monitors.layouts import Statistics"),
    (handler_imports, HANDLER, "import boto3"),
    (handler_imports, HANDLER, "from botocore.exceptions import ClientError"),
    (handler_imports, HANDLER, "import os"),
    (handler_imports, HANDLER, "from chalice import Response"),
    (handler_imports, HANDLER, "from chalicelib.handlers.retrain_claimed import handle"),
    (handler_imports, HANDLER, "from chalicelib.handlers import promotion_claimed"),
    (handler_imports, "chalicelib/workflows/scoring.py", "from chalicelib.handlers import window_due"),
    (handler_imports, HANDLER, "from chalicelib.adapters.ledger import DynamoLedger"),
    (chalicelib_stands_alone, HANDLER, "from infra.package import Package"),
    (chalicelib_stands_alone, HANDLER, "import emulator.memory"),
    (chalicelib_stands_alone, HANDLER, "def late():\n    from emulator import pump"),
    *(
        (capture_stands_alone, place, text)
        for place, text in [
            ("plumbline/capture/writer.py", "import numpy"),
            ("plumbline/capture/writer.py", "from chalicelib.records.capture import Payload"),
            ("plumbline/capture/writer.py", "def f():\n    import boto3"),
            ("plumbline/capture/places.py", "import boto3"),
        ]
    ),
    (no_word_of_the_emulator, HANDLER, "# the emulator answers otherwise"),
    (no_word_of_the_emulator, HANDLER, "# Moto sends eTag"),
    (aws_only_in_adapters, HANDLER, "import boto3"),
    (aws_only_in_adapters, "app.py", "def f():\n    from botocore.config import Config"),
    (environment_only_in_settings, HANDLER, "import os"),
    (environment_only_in_settings, "plumbline/cli/main.py", "from os import environ"),
    (environment_only_in_settings, "app.py", "x = os.environ['STAGE']"),
    (event_shapes_only_in_events, HANDLER, "kind = event['detail-type']"),
    (clock_only_in_wiring, HANDLER, "from datetime import datetime\nnow = datetime.now(UTC)"),
    (clock_only_in_wiring, HANDLER, "import datetime\nnow = datetime.datetime.now"),
    (clock_only_in_wiring, HANDLER, "now = datetime.utcnow()"),
    (clock_only_in_wiring, HANDLER, "import time\nnow = time.time()"),
    (clock_only_in_wiring, HANDLER, "from time import time"),
    *((effects_in_their_handler, HANDLER, f"services.sagemaker.{effect}(x)") for effect in EFFECTS),
    (
        effects_in_their_handler,
        "chalicelib/handlers/retrain_claimed.py",
        "services.sagemaker.update_endpoint('e', 'c')",
    ),
    (effects_in_their_handler, HANDLER, "start = services.sagemaker.start_pipeline"),
    (short_functions, "app.py", SEVEN_LINES),
    (short_functions, "app.py", SEVEN_LINES.partition("\n")[2]),
    (short_functions, "app.py", "@route\ndef f():\n    return [\n" + "        1,\n" * 5 + "    ]\n"),
    (
        one_service_each,
        "chalicelib/wiring.py",
        "def t(self):\n    from chalicelib.adapters.topic import T\n    T(self._client('sns'), self._client('sqs'))",
    ),
    (
        one_service_each,
        "chalicelib/wiring.py",
        "def a(self):\n    from chalicelib.adapters.topic import T\n    T(self._client('sns'))\n"
        "def b(self):\n    from chalicelib.adapters.queues import Q\n    Q(self._client('sns'))",
    ),
]


@pytest.mark.parametrize("rule, place, text", [pytest.param(*case, id=f"{case[0].__name__}-{case[2]}") for case in BAD])
def test_rule_can_fail(rule: Rule, place: str, text: str):
    wrong = rule(place, text)
    assert wrong and all(sentence.startswith(place) for sentence in wrong)


def test_each_rule_was_seen_to_fail():
    assert {rule for rule, _, _ in BAD} == set(RULES)


@pytest.mark.parametrize(
    "rule, place, text",
    [
        (pure_imports, DECISION, "from chalicelib.errors import MisconfiguredError\nimport numpy as np\nimport math"),
        (pure_imports, DECISION, "from chalicelib.records.window import Window"),
        (no_unseeded_random, DECISION, "import numpy as np\nnp.random.Generator(np.random.PCG64(seed))"),
        (facts_imports, "chalicelib/facts/monitors.py", "from chalicelib import keys"),
        (handler_imports, HANDLER, "from chalicelib.workflows.scoring import score"),
        (no_word_of_the_emulator, HANDLER, "promotion = motor"),
        (clock_only_in_wiring, HANDLER, "at = services.now()"),
        (effects_in_their_handler, "chalicelib/handlers/retrain_claimed.py", "services.sagemaker.start_pipeline(x)"),
        (short_functions, "app.py", SEVEN_LINES.replace("    a6 = 6\n", "")),
    ],
)
def test_rule_lets_good_code_be(rule: Rule, place: str, text: str):
    assert rule(place, text) == []
