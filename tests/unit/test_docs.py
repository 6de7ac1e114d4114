"""The documents say what the code does: fields, defaults, bounds, keys, queues, callers, links and examples.

Each document is read as text and its tables as rows; what they must hold comes from the code itself.
"""

from __future__ import annotations

import ast
import copy
import re
import types
import typing
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import yaml

from chalicelib import errors, keys, ports
from chalicelib.decisions.alert import Route
from chalicelib.decisions.challenger import PairedLoss, decayed_difference
from chalicelib.decisions.policy import Policy, check_policy
from chalicelib.decisions.retrain import excess_loss
from chalicelib.definition import (
    Alarm,
    Baseline,
    Definition,
    LabelSettings,
    Retraining,
    WindowSettings,
    canonical_json,
    parse_definition,
)
from chalicelib.errors import MisconfiguredError
from chalicelib.facts import champions, claims, deliveries, due, labels
from chalicelib.monitors.model_explainability import AttributionSettings
from chalicelib.monitors.types import TYPES
from chalicelib.records.attributes import Attributes
from chalicelib.records.label_files import LabelMapping
from chalicelib.records.window import Window
from chalicelib.states.facets import BiasSettings, Facet
from chalicelib.topology import SOURCES
from chalicelib.workflows import label_containers
from chalicelib.workflows.incident_alerts import TITLES
from plumbline.cli.commands import _parser

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
STATE = (ROOT / "docs/state.md").read_text(encoding="utf-8")
DEFINITION = (ROOT / "docs/monitor-definition.md").read_text(encoding="utf-8")
EXAMPLE = yaml.safe_load((ROOT / "examples/electricity/monitor.yaml").read_text(encoding="utf-8"))

# Heading of its table -> struct.
STRUCTS: dict[str, type[msgspec.Struct]] = {
    "The document": Definition,
    "attributes": Attributes,
    "window": WindowSettings,
    "labels": LabelSettings,
    "mapping": LabelMapping,
    "baseline": Baseline,
    "bias": BiasSettings,
    "facets": Facet,
    "attribution": AttributionSettings,
    "policy": Policy,
    "alarms": Alarm,
    "retraining": Retraining,
    "routes": Route,
}


# --- Reading Markdown ------------------------------------------------------------------------------------------------


def section(text: str, heading: str) -> str:
    """The text below a heading, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", without_code(text), re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return found[1]


def without_code(text: str) -> str:
    """Fenced blocks taken out: a comment in YAML is no heading."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def rows(text: str) -> list[dict[str, str]]:
    """Every row of every table, by its column's title."""
    found: list[dict[str, str]] = []
    titles: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith("|"):
            titles = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if titles is None:
            titles = cells
        elif set(line) - set("|-: "):
            assert len(cells) == len(titles), f"expected {len(titles)} cells: {line}"
            found.append(dict(zip(titles, cells, strict=True)))
    return found


def codes(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


# --- The monitor definition ------------------------------------------------------------------------------------------


def type_words(annotation: Any) -> str:
    """How the documents write a field's type."""
    if annotation is bool:
        return "true or false"
    if annotation in (str, int, float):
        return {str: "text", int: "whole number", float: "number"}[annotation]
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return "mapping"
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        word = type_words(inner[0])
        return f"list of {word}s" if word in ("text", "mapping") else f"list of {word}"
    if origin is dict:
        return f"mapping of {type_words(inner[1])}s"
    if origin is types.UnionType:
        return " or ".join("null" if each is types.NoneType else type_words(each) for each in inner)
    raise AssertionError(f"no words for {annotation}")


def default_words(field: msgspec.structs.FieldInfo) -> str:
    """How the documents write a field's default."""
    if field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "its defaults" if isinstance(value, msgspec.Struct) else f"`{msgspec.json.encode(value).decode()}`"


@pytest.mark.parametrize("heading", STRUCTS)
def test_every_field_is_told_with_its_type_and_default(heading: str) -> None:
    told = {
        codes(row["field"])[0]: (row["type"], row["default"])
        for row in rows(section(DEFINITION, heading))
        if "field" in row
    }
    hints = typing.get_type_hints(STRUCTS[heading])
    meant = {
        field.name: (type_words(hints[field.name]), default_words(field))
        for field in msgspec.structs.fields(STRUCTS[heading])
    }
    assert told == meant


def test_the_policys_bounds_are_those_that_are_checked() -> None:
    bounds = {codes(row["field"])[0]: row["allowed"] for row in rows(section(DEFINITION, "policy"))}
    numeric = {name for name, kind in typing.get_type_hints(Policy).items() if kind in (int, float)}
    assert {name for name, bound in bounds.items() if bound} == numeric
    for name in numeric:
        found = re.fullmatch(r"(more than )?([\d.]+),? to ([\d.]+)", bounds[name])
        assert found, f"{name}: {bounds[name]}"
        low, high, open_ended = float(found[2]), float(found[3]), bool(found[1])
        step = 1 if isinstance(getattr(Policy(), name), int) else 0.01
        for value, fits in ((low - step, False), (low, not open_ended), (low + step, True), (high, True)):
            assert _accepted(name, value) is fits, f"{name}: {value}"
        assert not _accepted(name, high + step), f"{name}: {high + step}"


def _accepted(name: str, value: float) -> bool:
    try:
        check_policy(msgspec.structs.replace(Policy(), **{name: value}))
    except MisconfiguredError as error:
        assert error.field == f"policy.{name}"
        return False
    return True


def yaml_examples() -> list[dict[str, Any]]:
    return [
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", DEFINITION, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("position", range(len(yaml_examples())))
def test_yaml_examples_are_valid_definitions(position: int) -> None:
    # A part of a definition replaces that part of the complete example.
    example = yaml_examples()[position]
    parse_definition(example if "name" in example else {**EXAMPLE, **example})


def test_the_complete_example_is_the_demos_monitor() -> None:
    shown, kept = parse_definition(yaml_examples()[0]), parse_definition(EXAMPLE)
    assert canonical_json(shown) == canonical_json(kept)


def test_the_answers_to_wrong_definitions_are_those_that_are_given() -> None:
    told = rows(section(DEFINITION, "What is said when a definition is wrong"))
    given = []
    for row in told:
        path, _, value = codes(row["change"])[0].partition(": ")
        document = copy.deepcopy(EXAMPLE)
        *outer, last = path.split(".")
        place = document
        for name in outer:
            place = place[name]
        place[last] = yaml.safe_load(value)
        with pytest.raises(MisconfiguredError) as caught:
            parse_definition(document)
        given.append(str(caught.value))
    assert given
    assert [row["answer"] for row in told] == given


def test_placeholders_are_those_that_are_replaced() -> None:
    told = [codes(row["placeholder"])[0] for row in rows(section(DEFINITION, "retraining")) if "placeholder" in row]
    for text, expected in ((" ".join(told), True), ("{manifest_uri} {window}", False)):
        document = {**EXAMPLE, "retraining": {**EXAMPLE["retraining"], "parameters": {"All": text}}}
        try:
            parse_definition(document)
            accepted = True
        except MisconfiguredError as error:
            accepted = False
            # The error names every placeholder there is.
            assert sorted(told) == sorted(
                f"{{{name}}}" for name in re.findall(r"\w+", str(error).rpartition("placeholders ")[2])
            )
        assert accepted is expected


def test_every_kind_of_incident_is_named_for_the_routes() -> None:
    assert set(TITLES) <= set(codes(section(DEFINITION, "routes")))


def test_the_worked_numbers_of_the_rule() -> None:
    rule = section(DEFINITION, "The rule")
    found = re.search(r"losses of ([\d.]+) four times and then ([\d.]+), ([\d.]+) and ([\d.]+) give m = (.*?):", rule)
    assert found
    first, *later = (float(number) for number in found.groups()[:4])
    excesses = [excess_loss([first] * 4 + later[:count], Policy()) for count in (1, 2, 3)]
    assert [float(number) for number in re.findall(r"\d\.\d+", found[5])] == [round(e.excess, 4) for e in excesses]
    assert [each.reaches(Policy()) for each in excesses] == [False, False, True]

    paired = [PairedLoss(0, 0.10, 0.20), PairedLoss(4, 0.14, 0.20)]
    stated = re.search(r"has d = .*? = (-[\d.]+)\.\n", rule)
    assert stated and float(stated[1]) == round(decayed_difference(paired, Policy()), 3)


# --- The architecture ------------------------------------------------------------------------------------------------


def test_every_source_is_in_the_table_of_events() -> None:
    told = {
        (row["queue"].strip("`"), row["function"].strip("`"))
        for row in rows(section(ARCHITECTURE, "The way of an event"))
    }
    routes = ["ground_truth_posted", "ground_truth_posted_by_iam", "openapi"]
    routes += ["page_of_fleet", "fleet_as_json", "page_of_monitor", "page_of_window", "page_of_decision"]
    meant = {(source.queue, source.function) for source in SOURCES} | {("none", name) for name in routes}
    assert told == meant


def test_queues_that_a_function_fills_are_told() -> None:
    functions = {
        (path.stem, node.name): node
        for folder in ("handlers", "workflows")
        for path in (ROOT / "chalicelib" / folder).glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    queues = {source.queue for source in SOURCES}
    filled = set()
    for row in rows(section(ARCHITECTURE, "The way of an event")):
        function = row["function"].strip("`")
        sent = {queue for place in reached((function, "handle"), functions) for queue in sends(functions[place])}
        filled |= sent
        assert set(codes(row["what it writes"])) & queues == sent, function
    assert len(filled) >= 5, "the search for messages found too little"


def sends(function: ast.FunctionDef) -> Iterator[str]:
    """The queues that a function itself sends to."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("queues.send"):
            yield ast.literal_eval(node.args[0])


def reached(start: tuple[str, str], functions: dict[tuple[str, str], ast.FunctionDef]) -> set[tuple[str, str]]:
    """(file, name) of every function of `handlers/` and `workflows/` that one uses, directly or not."""
    shared = {name: (file, name) for file, name in functions if name != "handle" and not name.startswith("_")}
    found = {start} & set(functions)
    todo = list(found)
    while todo:
        file, _ = place = todo.pop()
        for name in {node.id for node in ast.walk(functions[place]) if isinstance(node, ast.Name)}:
            used = (file, name) if (file, name) in functions else shared.get(name)
            if used and used not in found:
                found.add(used)
                todo.append(used)
    return found


def test_schedules_are_told() -> None:
    by_function = {
        row["function"].strip("`"): row["event"] for row in rows(section(ARCHITECTURE, "The way of an event"))
    }
    schedules = {source.function: source.schedule for source in SOURCES if source.schedule}
    assert schedules
    assert {name: codes(by_function[name]) for name in schedules} == {name: [rate] for name, rate in schedules.items()}


def test_every_function_of_the_app_is_in_the_table_of_events() -> None:
    tree = ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    told = {row["function"].strip("`") for row in rows(section(ARCHITECTURE, "The way of an event"))}
    assert told == functions


def test_every_floor_is_in_the_table_of_floors() -> None:
    folders = {f"{path.parent.name}/" for path in (ROOT / "chalicelib").glob("*/__init__.py")}
    assert {row["floor"].strip("`") for row in rows(section(ARCHITECTURE, "Floors"))} == folders


def test_every_error_class_is_told() -> None:
    classes = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    told = set(codes(section(ARCHITECTURE, "Errors")))
    # The root is raised by nobody.
    assert classes - {"PlumblineError"} <= told


def test_irreversible_calls_are_made_where_the_document_says() -> None:
    table = rows(section(ARCHITECTURE, "Who may call what cannot be taken back"))
    told = {codes(row["port method"])[0]: set(codes(row["only in"])) for row in table}
    reads = ("describe_", "find_", "execution_")
    changes = {f"sagemaker.{name}" for name in vars(ports.SageMaker) if not name.startswith((*reads, "_"))}
    changes |= {"scorer.invoke", "metrics.put", "topic.publish", "courier.post"}
    assert set(told) == changes

    made = defaultdict(set)
    for path, call in port_calls():
        if call in changes:
            made[call].add(path.name)
    assert told == dict(made)


def port_calls() -> Iterator[tuple[Path, str]]:
    """Every `….{port}.{method}` outside of adapters, as (file, "port.method")."""
    for path in sorted((ROOT / "chalicelib").rglob("*.py")):
        if path.parent.name == "adapters":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
                yield path, f"{node.value.attr}.{node.attr}"


# --- State -----------------------------------------------------------------------------------------------------------


def table_keys() -> Iterator[tuple[str, str]]:
    """(file, beginning of a key) of every text in facts/ that is a partition or sort key, up to its first variable."""
    for path in sorted((ROOT / "chalicelib/facts").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if found := re.match(r"[A-Z_]+#(?:[A-Z_]+$)?", node.value):
                    yield path.name, found[0]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in ("load", "change", "put_if_absent"):
                    yield from (
                        (path.name, each.value)
                        for each in node.args[1:3]
                        if isinstance(each, ast.Constant) and isinstance(each.value, str)
                    )
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                yield from ((path.name, str(node.value.value)) for to in node.targets if ast.unparse(to) == "PARTITION")


def told_keys() -> set[str]:
    """Every pk and sk of the document; those of one monitor are in a section whose heading is their pk."""
    cells = [cell for row in rows(section_of_table()) for title, cell in row.items() if title in ("pk", "sk")]
    return {code for cell in cells for code in codes(cell)} | set(codes(re.findall(r"^### About.*$", STATE, re.M)[0]))


def fits(told: str, key: str) -> bool:
    """Whether a key of the document is one of the code: the whole of it, or its beginning where a variable follows."""
    return told == key or (key.endswith("#") and told.startswith(key))


def section_of_table() -> str:
    return STATE[STATE.index("## The table") : STATE.index("### Numbers")]


def test_every_key_of_the_table_is_told() -> None:
    used = set(table_keys())
    assert len({file for file, _ in used}) >= 10, "the search for keys found too little"
    assert {(file, key) for file, key in used if not any(fits(told, key) for told in told_keys())} == set()


def test_no_key_is_told_that_the_code_does_not_have() -> None:
    used = {key for _, key in table_keys()}
    named = {told for told in told_keys() if re.match(r"[A-Z]", told)}
    assert named
    assert {told for told in named if not any(fits(told, key) for key in used)} == set()


def test_keys_and_documents_are_those_of_the_docstrings() -> None:
    """Each file of facts/ begins with its keys: "{pk} / {sk} -> {class}", several sort keys joined by "and"."""
    monitor = codes(re.findall(r"^### About.*$", STATE, re.MULTILINE)[0])[0]
    told = {
        (codes(row["pk"])[0] if "pk" in row else monitor, codes(row["sk"])[0], codes(row["document"])[0])
        for row in rows(section_of_table())
    }
    meant = set()
    for path in (ROOT / "chalicelib/facts").glob("*.py"):
        text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
        for pk, sks, kind in re.findall(r"([A-Z]+(?:#\{[^}]+\})*) / ([^;:.]+?) -> (\w+)", text):
            meant |= {(pk, sk, f"{path.stem}.{kind}") for sk in sks.split(" and ")}
    assert len(meant) >= 20, "the search for keys found too little"
    assert meant - told == set()


def test_documents_of_the_table_are_classes_of_facts() -> None:
    told = {codes(row["document"])[0] for row in rows(section_of_table())}
    modules = {path.stem: path for path in (ROOT / "chalicelib/facts").glob("*.py")}
    for name in told:
        module, _, kind = name.partition(".")
        assert f"class {kind}(msgspec.Struct" in modules[module].read_text(encoding="utf-8"), name


def test_whoever_writes_and_reads_exists() -> None:
    functions = {source.function for source in SOURCES} | {"ground_truth_posted", "page_asked"}
    functions |= {
        "add",
        "adopt",
        "explain",
        "explain --from",
        "forget",
        "pause",
        "rebuild",
        "redrive",
        "remove",
        "status",
        "withdraw",
    }
    named = set()
    for row in rows(STATE):
        for title in ("written by", "read by"):
            named |= {code for code in codes(row.get(title, "")) if code != "pool-endpoint"}
    assert named
    assert named <= functions


def test_every_s3_key_is_told() -> None:
    window = Window(datetime(2026, 1, 2, 3, tzinfo=UTC), timedelta(hours=1))
    end, start = "2026/01/02/04", window.name
    made: dict[str, Callable[[], str]] = {
        "definition_key": lambda: keys.definition_key("{monitor}", "{version}"),
        "measured_key": lambda: keys.measured_key("{monitor}", window, "{digest}"),
        "labels_key": lambda: keys.labels_key("{monitor}", window, "{digest}"),
        "ids_prefix": lambda: keys.ids_prefix("{monitor}"),
        "ids_key": lambda: keys.ids_key("{monitor}", window, "{digest}"),
        "filters_prefix": lambda: keys.filters_prefix("{monitor}"),
        "filter_key": lambda: keys.filter_key("{monitor}", window, "{digest}"),
        "filter_check_key": lambda: keys.filter_check_key("{monitor}", "{window}", "{digest}"),
        "label_container_key": lambda: keys.label_container_key("{monitor}", "{hour}", "{digest}"),
        "label_containers_prefix": lambda: keys.label_containers_prefix("{monitor}", "{hour}"),
        "revision_key": lambda: keys.revision_key("{monitor}", window, "{digest}"),
        "decision_key": lambda: keys.decision_key("{monitor}", "{decision_id}"),
        "training_manifest_key": lambda: keys.training_manifest_key("{monitor}", "{decision_id}"),
        "surrogate_key": lambda: keys.surrogate_key("{monitor}", "{window}", "{what}"),
        "baseline_folder": lambda: keys.baseline_folder("{monitor}", "{candidate}"),
        "quarantine_key": lambda: keys.quarantine_key("{monitor}", "{digest}"),
        "label_maturity_key": lambda: keys.label_maturity_key(
            "{output_s3_uri}", "{endpoint}", "{monitor}", "ModelQuality", window
        ),
        "merge_key": lambda: keys.merge_key("{output_s3_uri}", "{endpoint}", "{variant}", "{monitor}", "YYYY/MM/DD/HH"),
        "capture_prefix": lambda: (
            keys.capture_prefix("{capture_s3_uri}", "{endpoint}", "{variant}") + "/YYYY/MM/DD/HH/"
        ),
    }
    for kind in TYPES:
        made[f"report_folder {kind}"] = lambda kind=kind: (  # type: ignore[misc]
            keys.report_folder("{output_s3_uri}", "{endpoint}", "{monitor}", kind, window) + "/"
        )
    tree = ast.parse((ROOT / "chalicelib/keys.py").read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    not_layouts = {"hour_folder", "parse_hourly", "parse_ids_key", "parse_filter_key", "join", "s3_uri"}
    # Folders that hold the layouts below.
    not_layouts |= {"payload_prefix", "merge_prefix", "report_prefix"}
    assert functions - not_layouts == {name.split()[0] for name in made}

    told = [code for row in rows(STATE[STATE.index("## S3") :]) for code in codes(row["key"])]
    for name, make in made.items():
        layout = make().replace(start, "{window}").replace(end, "YYYY/MM/DD/HH")
        matching = [key for key in told if (key.startswith(layout) if name == "capture_prefix" else key == layout)]
        assert matching, f"{name}: {layout}"


def test_the_class_of_our_own_keys_is_that_of_their_place() -> None:
    own = [row for row in rows(STATE[STATE.index("### In Plumbline's own bucket") :]) if "class" in row]
    assert own
    for row in own:
        assert codes(row["key"])[0].startswith(f"plumbline/{row['class']}/"), row["key"]


def test_numbers_of_the_table_are_those_of_the_code() -> None:
    modules = {"due": due, "claims": claims, "champions": champions, "deliveries": deliveries, "labels": labels}
    told = {codes(row["constant"])[0]: row["value"] for row in rows(section(STATE, "Numbers"))}
    meant = {}
    for name in told:
        module, _, constant = name.partition(".")
        value = getattr(modules[module], constant)
        meant[name] = _duration(value) if isinstance(value, timedelta) else str(value)
    assert told == meant
    leases = {f"{name}.LEASE" for name, module in modules.items() if hasattr(module, "LEASE")}
    assert leases <= set(told)


def test_numbers_of_label_containers_are_those_of_the_code() -> None:
    text = section((ROOT / "docs/label-webhook.md").read_text(encoding="utf-8"), "What becomes of the objects")
    told = " ".join(text.split())
    assert timedelta(minutes=10) == label_containers.SETTLED_AFTER and "Ten minutes after an hour" in told
    for words in (
        f"up to {label_containers.SMALL // 1000} kB",
        f"up to {label_containers.MOST_BYTES // 1_000_000} MB and {label_containers.MOST_OBJECTS:,} objects",
        f"at most {label_containers.MOST_OBJECTS:,} objects a minute",
        f"fewer than {label_containers.FEWEST} stays",
    ):
        assert words in told, words


def _duration(value: timedelta) -> str:
    return f"{value.days} days" if value.days else f"{value // timedelta(minutes=1)} minutes"


# --- Commands ---------------------------------------------------------------------------------------------------------


def test_every_command_is_told() -> None:
    usage = _parser().format_usage() + _parser().format_help()
    commands = set(re.findall(r"^    (\w+) ", usage, re.MULTILINE))
    assert {"add", "explain", "doctor", "connect"} <= commands
    told = set(re.findall(r"plumbline (\w+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert commands <= told
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^## `plumbline (\w+)`$", operations, re.MULTILINE))
    assert len(told) >= 6 and told <= commands


# --- Links -----------------------------------------------------------------------------------------------------------


def markdown_files() -> list[Path]:
    """Every Markdown file of the repository, not those of environments, caches and demo output."""
    skipped = {"demo-output", "build", "dist", "node_modules"}
    found = []
    for path in sorted(ROOT.rglob("*.md")):
        parts = path.relative_to(ROOT).parts
        if not any(part.startswith(".") or part in skipped for part in parts):
            found.append(path)
    return found


def anchors(path: Path) -> set[str]:
    """The fragments that GitHub gives to a file's headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path, text: str) -> list[str]:
    """Relative links of a Markdown text that lead nowhere, images included."""
    bare = re.sub(r"`[^`\n]*`", "", without_code(re.sub(r"\[`([^`\n]*)`\]", r"[\1]", text)))
    broken = []
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", bare) + re.findall(
        r"^\[[^\]]+\]:\s*(\S+)", bare, re.MULTILINE
    )
    for target in targets:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, fragment = target.partition("#")
        goal = (path.parent / name).resolve() if name else path
        exists = goal.exists() and (goal == ROOT or ROOT in goal.parents)
        if not exists or (fragment and goal.suffix == ".md" and fragment not in anchors(goal)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("path", markdown_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path, path.read_text(encoding="utf-8")) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = (
        "[a](no-such-file.md) [b](state.md) [`c`](no-such-folder/) [d](state.md#s3) [e](state.md#nothing) "
        "[f](https://example.com/x) `[g](no-code.md)`\n\n```\n[h](fenced.md)\n```\n\n[i]: lost.md\n"
    )
    found = broken_links(ROOT / "docs/architecture.md", text)
    assert found == ["no-such-file.md", "no-such-folder/", "state.md#nothing", "lost.md"]


def test_documents_named_by_the_code_exist() -> None:
    named = set()
    for folder in ("chalicelib", "infra", "cli", "local", "pipelines"):
        for path in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r"(?<![\w./-])docs/[\w/-]+(?:\.md)?", path.read_text(encoding="utf-8")))
    assert "docs/architecture.md" in named
    # A decision is named by its number alone.
    missing = {name for name in named if not ((ROOT / name).exists() or list(ROOT.glob(f"{name}-*.md")))}
    assert missing == set()
