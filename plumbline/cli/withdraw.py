"""`plumbline ground-truth withdraw OBJECT | WEBHOOK-ID`: take the labels of one delivery out, and restate its windows.

The objects themselves stay where they are. Not here: how a window does without them (window_due's first third).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import msgspec

from chalicelib import keys, wiring
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import MisconfiguredError
from chalicelib.facts import deliveries, due, evaluations, labels, monitors
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command


class Withdrawal(msgspec.Struct, frozen=True):
    """One object taken out for one monitor, and how many windows had labels of it."""

    monitor: str
    uri: str
    windows: int


def withdraw(services: Services, delivery: str) -> list[Withdrawal]:
    """Take out the labels of an object (`s3://…`), or of all objects of a post by its webhook id.

    The windows with labels of it are due again. Doing it twice changes nothing. Raises MisconfiguredError where no
    monitor reads the object, or where no receipt has the webhook id (they are kept for a week).
    """
    objects = [split_s3_uri(delivery)] if delivery.startswith("s3://") else _posted(services, delivery)
    found = [
        Withdrawal(definition.name, keys.s3_uri(bucket, key), _withdraw(services, definition, bucket, key))
        for bucket, key in objects
        if (hourly := keys.parse_hourly(key))
        for definition in services.definitions.find("ground-truth", f"{bucket}/{hourly.prefix}")
    ]
    if not found:
        raise MisconfiguredError("OBJECT", delivery, "a label object below a monitor's ground_truth_s3_uri")
    return found


def _posted(services: Services, webhook_id: str) -> list[tuple[str, str]]:
    """The objects that a post was stored as."""
    sources = (source for entry in monitors.all_entries(services.ledger) for source in entry.sources)
    endpoints = sorted({value for kind, value in sources if kind == "endpoint"})
    found = (deliveries.receipt_of(services.ledger, endpoint, webhook_id) for endpoint in endpoints)
    receipts = [receipt for receipt in found if receipt]
    if len(receipts) > 1:
        objects = ", ".join(keys.s3_uri(*each) for receipt in receipts for each in receipt.objects)
        raise MisconfiguredError("WEBHOOK-ID", webhook_id, f"the object: posts to several endpoints have it: {objects}")
    if not receipts:
        kept = deliveries.RECEIPT_KEPT.days
        raise MisconfiguredError("WEBHOOK-ID", webhook_id, f"the id of a post of the last {kept} days, or an object")
    return list(receipts[0].objects)


def _withdraw(services: Services, definition: Definition, bucket: str, key: str) -> int:
    labels.withdraw(services.ledger, definition.name, bucket, key, services.now())
    windows = [window for window in _windows(services, definition) if _has(services, definition, window, bucket, key)]
    for window in windows:
        due.mark(services.ledger, definition.name, window, definition.grace, services.now())
    return len(windows)


def _windows(services: Services, definition: Definition) -> Iterator[Window]:
    """Those that may have labels of an object whose marks have not expired: of two horizons."""
    length = definition.window_length
    since = Window.of(services.now() - 2 * definition.horizon, length).name
    for each in evaluations.evaluations(services.ledger, definition.name, since=since):
        yield Window.parse(each.window, length)


def _has(services: Services, definition: Definition, window: Window, bucket: str, key: str) -> bool:
    sources = labels.sources(services.ledger, definition.name, window.name)
    return any((each.bucket, each.key) == (bucket, key) for each in sources)


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    found = withdraw(wiring.services(), options.delivery)
    lines = [f"{each.monitor}: {each.windows} windows are restated without {each.uri}" for each in found]
    return Answer("\n".join([*lines, "the objects stay where they are; their labels no longer count"]))


def register(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline ground-truth withdraw` and its argument."""
    parser = add_command(
        parts,
        "withdraw",
        "take the labels of one object or post out, and restate its windows",
        "For labels that were wrong or forged. The objects stay; their labels no longer count for any monitor that "
        "reads them. A retraining that has learned from them is not undone: roll back by hand.",
        "ground-truth withdraw s3://labels/churn/2026/01/05/10/forged.jsonl",
    )
    parser.add_argument("delivery", metavar="OBJECT|WEBHOOK-ID", help="s3://… or the id that the post had")
    parser.set_defaults(run=run)
