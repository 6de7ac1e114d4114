"""`plumbline baseline TABLE --out DIR`: statistics and suggested constraints from a data set, in SageMaker's files.

The data set should be rows that the model was not trained on: a baseline of training rows flatters the model, and
then everything alarms.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from chalicelib import wiring
from chalicelib.definition import Definition
from chalicelib.errors import MisconfiguredError
from chalicelib.evaluation.baseline_states import MEASUREMENT
from chalicelib.evaluation.broken import BROKEN_SHARE
from chalicelib.evaluation.measurement import Subject, measure
from chalicelib.monitors import baseline
from chalicelib.records.attributes import Attributes
from chalicelib.records.dataset import EXPECTED, Roles, first_names, table_of
from chalicelib.records.table import Table
from chalicelib.records.values import number_of, word_of
from chalicelib.states.profile import column_of, profile_of
from chalicelib.states.scores import are_classes, tally_of
from plumbline.cli.explaining import add_options as add_explaining
from plumbline.cli.explaining import explainer_of
from plumbline.cli.inputs.attribute_options import add_options, attributes_of, definition_of
from plumbline.cli.inputs.places import HIDDEN_TABLES, files_of
from plumbline.cli.inputs.tables import Columns, joined, read_table
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.output import folder_of, write_files
from plumbline.cli.terminal.usage import add_command

# Whatever this command may write.
_PATHS = (
    *(baseline.DATA_STATISTICS, baseline.DATA_CONSTRAINTS, baseline.MODEL_STATISTICS, baseline.MODEL_CONSTRAINTS),
    *(baseline.BIAS_CONSTRAINTS, baseline.EXPLAINABILITY_CONSTRAINTS, MEASUREMENT),
)
# Columns that are named in one kind of note; --json has all.
COLUMNS_SHOWN = 20
# Rows of a table from which on a column without a repeated value looks like an id.
LEAST_IDS = 100
# Values of a label column that a message names.
VALUES_NAMED = 5


def roles_of(options: argparse.Namespace, definition: Definition | None, columns: Columns) -> Roles | None:
    """Which columns are what; None: no model was named, so every column is described and nothing else.

    A definition says where things are in captures; in the table they are where the options say, else under the same
    names. Raises MisconfiguredError for a column that is not there.
    """
    if definition is None:
        attributes = attributes_of(options)
        if attributes is None:
            return None
        given = attributes
    else:
        given = definition.attributes
    found: dict[str, Any] = {}
    for role, field in (
        ("inference", "inference_attribute"),
        ("probability", "probability_attribute"),
        ("ground_truth", "ground_truth_attribute"),
    ):
        name = getattr(options, field) or getattr(given, field)
        if name is not None and name not in columns:
            option = f"--{field.replace('_', '-')}"
            told = f" (the definition's {name!r} is its place in a capture)" if definition else ""
            expected = f"one of the columns {first_names(columns)}{told}"
            raise MisconfiguredError(option, getattr(options, field), expected)
        found[role] = name
    if found["ground_truth"] is None:
        raise MisconfiguredError("--ground-truth-attribute", None, f"the column of the label: {first_names(columns)}")
    for role, field in (("inference", "inference_attribute"), ("probability", "probability_attribute")):
        if found[role] == found["ground_truth"]:
            option = f"--{field.replace('_', '-')}"
            raise MisconfiguredError(option, found[role], "another column than the label's: what the model answered")
    threshold = options.probability_threshold_attribute
    return Roles(
        problem_type=given.problem_type,
        threshold=given.probability_threshold if threshold is None else threshold,
        positive=options.positive_class or given.positive_class,
        outputs=given.output_names,
        features=given.features,
        **found,
    )


def _table(columns: Columns, roles: Roles) -> Table:
    try:
        return table_of(columns, roles)
    except MisconfiguredError as error:
        if error.field != "probability_attribute":
            raise
        raise MisconfiguredError("--probability-attribute", error.value, error.expected) from None


def documents_of(
    table: Table, definition: Definition | None, labelled: bool, evaluated_at: str
) -> tuple[dict[str, bytes], list[str]]:
    """The baseline's files by path, and in words what could not be made; `labelled` False: data quality alone.

    `evaluated_at`: an ISO time. A table whose columns all have a role has no features, and no data quality.
    """
    if not labelled:
        return baseline.data_documents(profile_of(table)), []
    bias, attribution = (definition.bias, definition.attribution) if definition else (None, None)
    documents = baseline.baseline_documents(
        table, table.predictions, table.scores, evaluated_at, bias=bias, attribution=attribution
    )
    missing = []
    if not table.features and not table.outputs:
        documents = {path: body for path, body in documents.items() if not path.startswith("data_quality/")}
        missing.append("data quality: every column is an answer or a label")
    if bias and baseline.BIAS_CONSTRAINTS not in documents:
        missing.append("model bias: the columns that it names are not there, or a facet has rows on one side only")
    if attribution and baseline.EXPLAINABILITY_CONSTRAINTS not in documents:
        missing.append("model explainability: the table has no columns of attributions")
    return documents, missing


def _refuse_other_labels(column: Sequence[Any], roles: Roles, table: Table) -> None:
    """A baseline of the labels that happen to be readable flatters the model, or says nothing of one class.

    Raises MisconfiguredError naming some of the values that were found.
    """
    readable = table.labels == table.labels
    there = np.array([word_of(value) is not None for value in column], dtype=np.bool_)
    other = there & ~readable
    if other.sum() <= BROKEN_SHARE * there.sum():
        return
    found = sorted({str(word_of(value)) for value, odd in zip(column, other.tolist(), strict=True) if odd})
    more = f" and {len(found) - VALUES_NAMED} more" if len(found) > VALUES_NAMED else ""
    wanted = EXPECTED[roles.problem_type]
    advice = "; --positive-class says which value is 1" if roles.problem_type == "BinaryClassification" else ""
    expected = (
        f"labels that are {wanted}{advice}; {int(other.sum()):,} of {int(there.sum()):,} are not: "
        f"{', '.join(found[:VALUES_NAMED])}{more}"
    )
    raise MisconfiguredError("--ground-truth-attribute", roles.ground_truth, expected)


def _subject(definition: Definition | None, roles: Roles | None) -> Subject:
    if definition:
        return Subject(attributes=definition.attributes, bias=definition.bias, attribution=definition.attribution)
    return Subject(attributes=Attributes(probability_threshold=roles.threshold if roles else 0.5))


def nearly_numbers(table: Table, documents: Mapping[str, bytes]) -> Iterator[str]:
    """A note on each column that counts as text though at least nine tenths of its values are numbers.

    One "NA" or infinity makes a column text (Model Monitor's rule), and from then on nobody looks at its numbers.
    """
    body = documents.get(baseline.DATA_CONSTRAINTS)
    columns = {**table.outputs, **table.features}
    for feature in msgspec.json.decode(body)["features"] if body else []:
        if feature["inferred_type"] != "String":
            continue
        found = column_of(feature["name"], 0, columns[feature["name"]])
        numbers = found.integral + found.fractional
        if 10 * numbers >= 9 * found.present:
            told = f"{numbers:,} of {found.present:,} values are numbers, but it counts as text"
            yield f"column {found.name}: {told}"


def like_ids(table: Table, documents: Mapping[str, bytes]) -> Iterator[str]:
    """A note on each column of whole numbers or texts in which no value comes twice: it will always drift."""
    body = documents.get(baseline.DATA_CONSTRAINTS)
    for feature in msgspec.json.decode(body)["features"] if body else []:
        values = table.features.get(feature["name"], [])
        different = {word_of(value) for value in values} - {None}
        is_like = feature["inferred_type"] == "Integral" or not any(
            number_of(each) == number_of(each) for each in different
        )
        if is_like and len(values) >= LEAST_IDS and len(different) == len(values):
            yield f"column {feature['name']}: no value comes twice: an id or a time? It will always drift"


def run(options: argparse.Namespace) -> tuple[str, int]:
    """The command: its output and its exit status."""
    folder = folder_of(options.out, {"TABLE": options.table}, _PATHS)
    definition = definition_of(options)
    explainer = explainer_of(options, definition)
    if definition is None:
        attributes_of(options)  # what is wrong with them is told before a large table is read
    files = files_of(options.table, "TABLE", HIDDEN_TABLES)
    columns = joined([(file, read_table(file, not options.no_header)) for file in files])
    roles = roles_of(options, definition, columns)
    table = _table(columns, roles or Roles())
    if roles and not (table.labels == table.labels).any():
        expected = f"a column with labels that can be read: {EXPECTED[roles.problem_type]}"
        raise MisconfiguredError("--ground-truth-attribute", roles.ground_truth, expected)
    if roles and roles.ground_truth is not None:
        _refuse_other_labels(columns[roles.ground_truth], roles, table)
    if roles and not (table.predictions == table.predictions).any():
        named = roles.inference or roles.probability
        option = "--inference-attribute" if roles.inference else "--probability-attribute"
        wanted = EXPECTED[roles.problem_type] if roles.inference else "a number from 0 to 1"
        raise MisconfiguredError(option, named, f"a column with answers that can be read: {wanted}")
    documents, missing = documents_of(table, definition, roles is not None, wiring.utc_now().isoformat())
    documents[MEASUREMENT] = measure(table, _subject(definition, roles)).to_bytes()
    told = ""
    if explainer and definition and definition.attribution:
        explainer.chosen.add(table)
        statistics = baseline.read_statistics(documents[baseline.DATA_STATISTICS], baseline.DATA_STATISTICS)
        found, told = explainer.explain(statistics)
        documents[baseline.EXPLAINABILITY_CONSTRAINTS] = baseline.attribution_document(found, definition.attribution)
        missing = [each for each in missing if not each.startswith("model explainability")]
    written = write_files(folder, documents, _PATHS)
    bad = {reason: found.count for reason, found in table.bad.items()}
    noted = {reason: found.count for reason, found in table.noted.items()}
    notes = [*nearly_numbers(table, documents), *like_ids(table, documents)]
    if options.json:
        document = {
            "rows": len(table),
            "features": len(table.features),
            "files": written,
            "not_made": missing,
            "bad_records": bad,
            "noted_records": noted,
            "notes": notes,
        }
        return json.dumps(document, indent=2), 0
    lines = [f"{len(table):,} rows, {len(table.features):,} features"]
    lines += [f"{count:,} of {len(table):,} rows left out of model quality: {reason}" for reason, count in bad.items()]
    lines += [f"{count:,} of {len(table):,} rows noted: {reason}" for reason, count in noted.items()]
    if roles and roles.probability and are_classes(tally_of(table)):
        lines.append(f"all of {roles.probability} are 0 or 1: is it the class? auc and the curves say little then")
    lines += notes[:COLUMNS_SHOWN]
    if len(notes) > COLUMNS_SHOWN:
        lines.append(f"… and {len(notes) - COLUMNS_SHOWN:,} more such columns (--json has all)")
    lines += [f"not made: {each}" for each in missing]
    lines += [told] if told else []
    lines += aligned([(path, f"{len(body):,} bytes") for path, body in zip(written, documents.values(), strict=True)])
    return "\n".join(lines), 0


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline baseline` and its arguments."""
    parser = add_command(
        commands,
        "baseline",
        "make statistics and suggested constraints from a data set, in SageMaker's files",
        "Use rows that the model was not trained on. Local files need no account.",
        "baseline validation.csv --out baseline --problem-type BinaryClassification \\\n"
        "      --probability-attribute p --ground-truth-attribute y",
    )
    parser.add_argument(
        "table",
        metavar="TABLE",
        help="CSV with a header, JSON Lines of objects, or Parquet (with pyarrow): a file, a folder of files with the "
        "same columns, or s3://…",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder that files are written to")
    parser.add_argument("--no-header", action="store_true", help="a CSV without a header: columns _c0, _c1, …")
    add_options(parser, "a column's name", "a column's name")
    add_explaining(parser)
    parser.add_argument("--json", action="store_true", help="what was made, as JSON")
    parser.set_defaults(run=run)
