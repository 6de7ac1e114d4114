"""`plumbline add monitor.yaml`: check a monitor definition, store it as a new version and index it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from chalicelib import wiring
from chalicelib.definition import Definition, parse_definition
from chalicelib.errors import MisconfiguredError, NotFoundError
from chalicelib.facts import champions, monitors
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.served_model import serving
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command


def read_definition(path: Path) -> Definition:
    """Read a YAML or JSON file. Raises MisconfiguredError naming the field, or the line of the file."""
    try:
        text = path.read_text(encoding="utf-8")
        # YAML's reader takes nearly all JSON, but not JSON indented with tabs.
        document = json.loads(text) if path.suffix.lower() == ".json" else yaml.load(text, _Loader)
    except OSError as error:
        raise MisconfiguredError("file", str(path), f"a file that can be read ({error.strerror})") from None
    # ValueError: text that is not UTF-8, invalid JSON, and text that YAML reads as an impossible date.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else _line_of(error)
        where = f"{path}, line {line}" if line else str(path)
        problem = f" ({error.problem})" if isinstance(error, yaml.MarkedYAMLError) and error.problem else ""
        raise MisconfiguredError("file", where, f"YAML or JSON{problem}") from None
    if document is None:
        raise MisconfiguredError("file", str(path), "a monitor definition; the file is empty")
    return parse_definition(document)


class _Loader(yaml.SafeLoader):
    """YAML in which a repeated key is an error: of two policies, only the last would count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} comes twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _line_of(error: Exception) -> int:
    place = getattr(error, "problem_mark", None)
    return place.line + 1 if place else 0


def add_monitor(services: Services, definition: Definition) -> monitors.Entry:
    """Store a definition, index it, and take the model that its endpoint serves now as the first champion.

    Raises MisconfiguredError, and stores nothing, when the endpoint, its variant or the pipeline does not exist, when
    the pipeline takes other parameters, when a stored monitor of this name has another endpoint, variant or window
    length, or when another monitor changes the model of this variant already.
    """
    _refuse_another(services, definition)
    _refuse_unknown_pipeline(services, definition)
    _refuse_second_hand(services, definition)
    candidate, endpoint = serving(services, definition)
    now = services.now()
    since = Window.of(now, definition.window_length)
    champions.crown_first(services.ledger, definition.name, candidate, endpoint.config_name, since.name)
    return monitors.add(services.ledger, services.objects, services.settings.bucket, definition, since.name)


def _refuse_another(services: Services, definition: Definition) -> None:
    """Refuse a change of endpoint, variant or window length: a monitor's stored facts depend on them."""
    entry = monitors.get(services.ledger, definition.name)
    if entry is None:
        return
    stored = services.definitions.of(entry)
    advice = f"as in the stored definition of {definition.name}; watch something else under another name"
    for field, old, new in (
        ("endpoint", stored.endpoint, definition.endpoint),
        ("variant", stored.variant, definition.variant),
    ):
        if old != new:
            raise MisconfiguredError(field, new, f"{old!r}, {advice}")
    if stored.window_length != definition.window_length:
        raise MisconfiguredError("window.length", definition.window.length, f"{stored.window.length!r}, {advice}")


def _refuse_second_hand(services: Services, definition: Definition) -> None:
    """Refuse a second monitor that retrains for the same variant: each would replace the other's champion unseen."""
    if not (definition.retraining and definition.policy.retrain):
        return
    pipeline = definition.retraining.pipeline_name
    for entry in monitors.all_entries(services.ledger):
        if entry.name == definition.name or entry.removed_at:
            continue
        other = services.definitions.of(entry)
        same = (other.endpoint, other.variant) == (definition.endpoint, definition.variant)
        if same and other.retraining and other.policy.retrain:
            expected = (
                f"no pipeline, for the monitor {other.name} retrains for {other.endpoint}/{other.variant} already"
            )
            raise MisconfiguredError("retraining", pipeline, expected)


def _refuse_unknown_pipeline(services: Services, definition: Definition) -> None:
    """Check the pipeline now; otherwise the first drift would find out that SageMaker rejects the start."""
    if (retraining := definition.retraining) is None:
        return
    name = retraining.pipeline_name
    try:
        pipeline = services.sagemaker.describe_pipeline(name)
    except NotFoundError:
        expected = "a pipeline that exists in this account; see `aws sagemaker list-pipelines`"
        raise MisconfiguredError("retraining.pipeline_name", name, expected) from None
    if unknown := sorted(set(retraining.parameters) - set(pipeline.parameters)):
        known = ", ".join(sorted(pipeline.parameters)) or "none"
        raise MisconfiguredError("retraining.parameters", unknown, f"only parameters of {name}: {known}")
    if ungiven := sorted({each for each, needed in pipeline.parameters.items() if needed} - set(retraining.parameters)):
        expected = f"also {', '.join(ungiven)}, which have no default in {name}"
        raise MisconfiguredError("retraining.parameters", sorted(retraining.parameters), expected)


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    definition = read_definition(options.file)
    if options.check:
        return Answer(f"{options.file}: a valid definition of the monitor {definition.name}")
    entry = add_monitor(wiring.services(), definition)
    return Answer(f"added {entry.name}, version {entry.version}; windows from {entry.since} on are evaluated")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline add` and its arguments."""
    parser = add_command(
        commands,
        "add",
        "store a monitor definition and index it",
        "Takes the serving model as champion. A changed definition is stored as the next version.",
        "add monitor.yaml",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="YAML or JSON file with one definition")
    parser.add_argument("--check", action="store_true", help="only check the file; needs no AWS account")
    parser.set_defaults(run=run)
