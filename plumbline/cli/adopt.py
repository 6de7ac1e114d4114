"""`plumbline adopt MONITOR`: make the model that the endpoint serves the champion, where somebody deployed it."""

from __future__ import annotations

import argparse

import msgspec

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from chalicelib.facts import champions, claims, due, monitors
from chalicelib.facts.champions import Champion
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.served_model import check_served, serving
from plumbline.cli.account.choice import chosen
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

CAUSE = "adopted"


def adopt(services: Services, name: str, baseline: str = "") -> Champion | None:
    """Crown what the endpoint serves, from when it came into service; None where the champion serves already.

    The windows since then are due again: they are credited to it. Raises NotFoundError for an unknown monitor, and
    MisconfiguredError where nothing is in service or a promotion is under way.
    """
    [entry] = chosen(monitors.all_entries(services.ledger), name)
    definition = services.definitions.of(entry)
    champion = champions.load_champion(services.ledger, name)
    claim = claims.load_promotion(services.ledger, name)
    if claim and claim.in_flight:
        raise MisconfiguredError("MONITOR", name, f"one without a promotion under way ({claim.kind} {claim.state})")
    served, endpoint = serving(services, definition)
    if endpoint.status != "InService":
        raise MisconfiguredError("MONITOR", name, f"one whose endpoint is InService ({endpoint.status} now)")
    if champion is None or champion.candidate.model_name == served.model_name:
        return None
    known = next((each for each in champion.pool if each.model_name == served.model_name), served)
    length = definition.window_length
    first = Window.of(endpoint.last_modified, length)
    candidate = known
    if known is served:
        # Its training rows are not known; it cannot have seen what came after its deployment.
        candidate = msgspec.structs.replace(served, fair_from=first.next().name, baseline=baseline)
    crowned = champions.crown(
        services.ledger,
        name,
        champion.generation,
        candidate,
        champion.candidate,
        endpoint.config_name,
        iso(endpoint.last_modified),
        CAUSE,
        definition.policy.pool_size,
    )
    window = first
    while window.end + definition.grace <= services.now():
        due.mark(services.ledger, name, window, definition.grace, services.now())
        window = window.next()
    check_served(services, definition, endpoint)
    return crowned


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    crowned = adopt(wiring.services(), options.monitor, options.baseline)
    if crowned is None:
        return Answer(f"the endpoint serves the champion of {options.monitor}: nothing to adopt")
    since = crowned.reigns[-1].since
    return Answer(f"{crowned.candidate.name} is the champion of {options.monitor}, generation {crowned.generation}, "
                  f"since {since}; its windows are evaluated again")  # fmt: skip


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline adopt` and its arguments."""
    parser = add_command(
        commands,
        "adopt",
        "make the model that the endpoint serves the champion",
        "For a model that somebody deployed by hand: its windows are credited to it, and the former champion joins the "
        "pool. Without --baseline it is compared with the definition's baseline.",
        "adopt churn",
    )
    parser.add_argument("monitor", metavar="MONITOR", help="whose endpoint serves another model")
    parser.add_argument("--baseline", default="", metavar="URI", help="folder of the model's own baseline, s3://…")
    parser.set_defaults(run=run)
