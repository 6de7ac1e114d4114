"""`plumbline explain DECISION_ID`: a stored decision, its evidence and its outcome, as text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeVar

import msgspec

from chalicelib import wiring
from chalicelib.errors import NotFoundError, UnreadableError
from chalicelib.facts import decisions
from chalicelib.facts.decisions import Outcome, Record
from chalicelib.wiring import Services
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

T = TypeVar("T")

# A busy window has hundreds of capture files as evidence; those beyond this number are only counted.
FILES_SHOWN = 12


def find_in_table(services: Services, decision_id: str) -> tuple[Record, list[Outcome]]:
    """A decision of this account by its full id. Raises NotFoundError."""
    record = decisions.load_record(services.ledger, decision_id)
    if record is None:
        raise NotFoundError(f"decision {decision_id}: not in the table (expected the whole id, 64 hex digits)")
    outcomes = decisions.outcomes(services.ledger, record.monitor)
    return record, [outcome for outcome in outcomes if outcome.decision_id == record.decision_id]


def find_in_folder(folder: Path, decision_id: str) -> tuple[Record, list[Outcome]]:
    """A decision in a folder of reports, by its id or the start of it. Raises NotFoundError, UnreadableError."""
    matches = sorted(path for path in folder.rglob("decisions/*.json") if path.stem.startswith(decision_id))
    if not matches:
        raise NotFoundError(f"decision {decision_id}: no file decisions/{decision_id}*.json below {folder}")
    if len(matches) > 1:
        names = ", ".join(path.stem[:16] for path in matches[:5])
        raise NotFoundError(f"decision {decision_id}: {len(matches)} decisions start like this ({names}, …)")
    record = _read(matches[0], Record, "a decision")
    kept = folder / "outcomes.json"
    outcomes = _read(kept, list[Outcome], "a list of outcomes") if kept.exists() else []
    return record, [outcome for outcome in outcomes if outcome.decision_id == record.decision_id]


def _read(path: Path, kind: type[T], expected: str) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except ValueError:
        raise UnreadableError(str(path), f"expected {expected} as JSON, as Plumbline writes it") from None


def explanation(record: Record, outcomes: list[Outcome]) -> str:
    """The decision as text."""
    reference = "not learned yet" if record.reference is None else f"{record.reference:.4f}"
    lines = [
        f"decision   {record.decision_id}",
        f"monitor    {record.monitor} (endpoint {record.endpoint})",
        f"window     {record.window}, decided at {record.made_at}",
        f"action     {record.action}" + (f", serve {record.serve}" if record.serve else ""),
        "because",
        *(f"  - {reason}" for reason in record.reasons),
        f"champion   {record.champion} (generation {record.generation})",
    ]
    if record.fresh_since:
        lines.append(f"regret     {record.regret:.4f} window-losses against a model fresh at {record.fresh_since}")
    else:
        lines.append(f"excess     {record.excess:.4f} window-losses since the last start, reference {reference}")
    if record.differences:
        lines.append("decayed paired loss against what was served")
        ranked = sorted(record.differences.items(), key=lambda pair: (pair[1], pair[0]))
        lines += [f"  {difference:+.4f}  {name}" for name, difference in ranked]
    lines.append("led to")
    lines += [f"  {outcome.at}  {outcome.kind}: {outcome.detail}" for outcome in outcomes] or ["  nothing to be done"]
    lines += [f"policy     version {record.policy_version}", f"evidence   digest {record.evidence_digest}"]
    lines += [f"  {evidence.source}  [{evidence.digest}]" for evidence in record.evidence[:FILES_SHOWN]]
    if len(record.evidence) > FILES_SHOWN:
        lines.append(f"  … and {len(record.evidence) - FILES_SHOWN} more")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    if options.folder:
        return Answer(explanation(*find_in_folder(options.folder, options.decision)))
    return Answer(explanation(*find_in_table(wiring.services(), options.decision)))


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline explain` and its arguments."""
    parser = add_command(
        commands,
        "explain",
        "print a decision with its reasons and evidence",
        "",
        "explain 3f9c --from demo-output",
    )
    parser.add_argument(
        "decision", metavar="DECISION_ID", help="the decision's id (with --from, its first digits are enough)"
    )
    parser.add_argument(
        "--from", dest="folder", type=Path, metavar="DIR", help="a folder of reports; default: the account"
    )
    parser.set_defaults(run=run)
