"""`plumbline alerts MONITOR`: send a test through the stage to every route, and say what each receiver answered."""

from __future__ import annotations

import argparse
from datetime import timedelta

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from chalicelib.facts import deliveries, monitors
from chalicelib.facts.deliveries import Delivery
from chalicelib.wiring import Services
from chalicelib.workflows.incident_alerts import publish_test
from plumbline.cli.account.choice import chosen
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

LONGEST_WAIT = timedelta(seconds=90)
_LOOK_EVERY = 2.0


def try_routes(services: Services, name: str, wait: timedelta) -> list[tuple[str, Delivery | None]]:
    """Each route in words, without its address, and what became of the test's resolution, its second message.

    The test takes the way of every alert: topic, queue, function, secret, network. Raises NotFoundError, and
    MisconfiguredError for a monitor without routes.
    """
    [entry] = chosen(monitors.all_entries(services.ledger), name)
    definition = services.definitions.of(entry)
    if not definition.routes:
        raise MisconfiguredError("MONITOR", name, "a monitor with `routes` in its definition")
    _, resolved = publish_test(services, definition)
    until = services.now() + wait
    while True:
        found = [deliveries.read(services.ledger, resolved, route) for route in definition.routes]
        if all(each and each.state == "DELIVERED" for each in found) or services.now() >= until:
            break
        wiring.pause(_LOOK_EVERY)
    names = [f"{number}. {route.kind} {route.secret}".rstrip() for number, route in enumerate(definition.routes, 1)]
    return list(zip(names, found, strict=True))


def _told(found: Delivery | None) -> str:
    if found is None:
        return "nothing was sent yet: is the function alert_published running?"
    if found.state == "DELIVERED":
        return f"delivered, HTTP {found.status}"
    answer = f"the receiver answered HTTP {found.status}" if found.status else "no answer: address, secret or network"
    return f"not delivered; {answer}"


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status, 1 where a route did not get the test."""
    found = try_routes(wiring.services(), options.monitor, timedelta(seconds=options.wait))
    lines = aligned([("ROUTE", "TEST"), *((name, _told(each)) for name, each in found)])
    missed = any(each is None or each.state != "DELIVERED" for _, each in found)
    return Answer("\n".join(lines), int(missed))


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline alerts` and its arguments."""
    most = int(LONGEST_WAIT.total_seconds())
    parser = add_command(
        commands,
        "alerts",
        "send a test to every route of a monitor",
        "Publishes an alert and its resolution, which all routes take whatever their filters, and waits for what the "
        "receivers answer. A pager is triggered with severity info and resolved at once.",
        "alerts churn",
        one="a route did not get the test",
    )
    parser.add_argument("monitor", metavar="MONITOR", help="whose routes are tried")
    parser.add_argument("--wait", type=int, default=most, metavar="SECONDS", help=f"default {most}")
    parser.set_defaults(run=run)
