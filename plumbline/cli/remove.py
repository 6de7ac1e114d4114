"""`plumbline remove MONITOR`: stop evaluating it. Nothing is deleted: what stays is listed with its delete command."""

from __future__ import annotations

import argparse
import json
from typing import Any

from chalicelib import keys, wiring
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.facts import champions, claims, decisions, monitors
from chalicelib.monitors.types import TYPES
from chalicelib.records.times import iso
from chalicelib.wiring import Services
from plumbline.cli.account.choice import chosen
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

REASON = "the monitor was removed"


def remove(services: Services, name: str) -> bool:
    """Take a monitor out of every index; False when it was removed already. Raises NotFoundError.

    The handlers bring what is in flight to a safe end: a retraining that has not started is not started, a challenger
    is refused, an endpoint update is finished. A challenger that awaits approval gets no more events, so its claim is
    ended here.
    """
    chosen(monitors.all_entries(services.ledger), name, removed=True)
    now = services.now()
    at = iso(now)
    removed = monitors.remove(services.ledger, name, at)
    claim = claims.load_retrain(services.ledger, name)
    if claim and claim.state == "AWAITING_APPROVAL":
        outcome = decisions.Outcome(
            decision_id=claim.decision_id, window=claim.window, kind="refused", detail=REASON, at=at
        )
        decisions.save_outcome(services.ledger, name, outcome)
        claims.move_retrain(
            services.ledger, name, claim.decision_id, ("AWAITING_APPROVAL",), "REFUSED", now, outcome=REASON
        )
    return removed


def remains(services: Services, definition: Definition) -> list[dict[str, str]]:
    """What stays of a removed monitor: `what` it is, and the command that deletes it."""
    own, name = services.settings.bucket, definition.name
    bucket, output = split_s3_uri(definition.output_s3_uri)
    found = []
    for monitor_type in definition.monitor_types:
        folder = keys.join(output, definition.endpoint, f"{name}-{TYPES[monitor_type].suffix}")
        found.append(_folder(f"{monitor_type} reports", keys.s3_uri(bucket, folder)))
    merged = keys.s3_uri(bucket, keys.join(output, "merge", definition.endpoint, definition.variant))
    found.append(
        {
            "what": f"merged records {merged}/",
            "delete": f"aws s3 rm --recursive {merged}/ --exclude '*' --include '*part-00000-{name}.c000.jsonl'",
        }
    )
    found.append(_folder("captured data and what was made from it", keys.s3_uri(own, f"plumbline/payload/{name}")))
    found.append(_folder("definitions, decisions, manifests", keys.s3_uri(own, f"plumbline/facts/{name}")))
    champion = champions.load_champion(services.ledger, name)
    for candidate in (champion.candidate, *champion.pool) if champion else ():
        if candidate.endpoint:
            delete = f"aws sagemaker delete-endpoint --endpoint-name {candidate.endpoint}"
            found.append(
                {"what": f"endpoint {candidate.endpoint} of the past champion {candidate.name}", "delete": delete}
            )
    return found


def _folder(what: str, uri: str) -> dict[str, str]:
    return {"what": f"{what} {uri}/", "delete": f"aws s3 rm --recursive {uri}/"}


def in_flight(services: Services, name: str) -> list[str]:
    """What was in flight at the removal, and how it ends."""
    found = []
    claim = claims.load_retrain(services.ledger, name)
    promotion = claims.load_promotion(services.ledger, name)
    if claim and claim.in_flight:
        text = f"the retraining {claim.decision_id[:12]} is {claim.state}: "
        if claim.state == "STARTING" and not claim.execution_arn:
            text += "it will not be started"
        else:
            text += (
                "its execution continues and its model is refused; to stop it: aws sagemaker stop-pipeline-execution "
                f"--pipeline-execution-arn {claim.execution_arn} --client-request-token {claim.decision_id}"
            )
        found.append(text)
    if promotion and promotion.in_flight:
        end = "finished" if promotion.state != "APPLYING" else "refused"
        found.append(f"the {promotion.kind} of {promotion.candidate} is {promotion.state}: it is {end}")
    return found


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    services, name = wiring.services(), options.monitor
    removed = remove(services, name)
    [entry] = [each for each in monitors.all_entries(services.ledger) if each.name == name]
    definition = services.definitions.of(entry)
    stays, flying = remains(services, definition), in_flight(services, name)
    if options.json:
        document: dict[str, Any] = {
            "monitor": name,
            "removed_at": entry.removed_at,
            "changed": removed,
            "in_flight": flying,
            "stays": stays,
        }
        return Answer(json.dumps(document, indent=2))
    lines = [
        f"{name}: removed; its windows are no longer evaluated"
        if removed
        else f"{name}: was removed {entry.removed_at}"
    ]
    lines += flying
    lines.append("what stays, and the command that deletes it")
    for each in stays:
        lines += [f"  {each['what']}", f"    > {each['delete']}"]
    lines.append("while these are kept, `plumbline add FILE` resumes it with its champion and its history")
    return Answer("\n".join(lines))


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline remove` and its arguments."""
    parser = add_command(
        commands,
        "remove",
        "stop evaluating a monitor; nothing is deleted",
        "Lists what stays and where. `plumbline add` resumes it.",
        "remove churn",
    )
    parser.add_argument("monitor", metavar="MONITOR", help="the monitor's name")
    parser.add_argument("--json", action="store_true", help="what was done, as JSON")
    parser.set_defaults(run=run)
