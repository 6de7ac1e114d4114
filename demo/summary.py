"""The final table, from the stored reports, the ledger's decisions and the pump's counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from chalicelib.decisions.policy import Policy
from chalicelib.facts.decisions import Outcome, Record
from chalicelib.records.attributes import Attributes
from chalicelib.topology import SOURCES
from demo.account import FIRST, LOOP
from demo.neighbours import LABEL_DELAY, Simulation, errors_per_window, neighbouring_policies
from demo.reports import (
    WindowReport,
    error_of,
    label_maturity,
    model_quality,
    persistence,
    recorded,
    violations_by_type,
)
from demo.stream import WEEK
from emulator.receiver import Received

HANDLERS = ("ground_truth_posted", *(source.function for source in SOURCES))


@dataclass(frozen=True)
class Summary:
    """What the demo showed. `faults` says in words what did not happen that should have; empty: the loop closed."""

    text: str
    faults: list[str]
    loop: list[WindowReport]
    never: list[WindowReport]


def summarise(
    folder: Path, records: Sequence[Record], outcomes: Sequence[Outcome], alarm_events: Sequence[str],
    worked: Mapping[str, int], approved: int, dead_letters: Mapping[str, int], attributes: Attributes,
    alerts: Mapping[str, int],
) -> Summary:  # fmt: skip
    """Read the reports in `folder` and put everything together."""
    loop, never = model_quality(folder, LOOP, LOOP), model_quality(folder, FIRST, FIRST)
    kinds = Counter(outcome.kind for outcome in outcomes)
    lines = ["", *_windows(folder, loop, never), "", *_decisions(records, outcomes)]
    lines += ["", "CloudWatch alarms that changed"]
    lines += [f"  {event}" for event in alarm_events] or ["  none"]
    restated = _restated(label_maturity(folder, LOOP, LOOP))
    lines += ["", *restated]
    lines += ["", "alerts that the receiver got"]
    lines += [f"  {count:4d}  {name}" for name, count in sorted(alerts.items())] or ["  none"]
    windows, first = recorded(folder, LOOP, attributes), recorded(folder, FIRST, attributes)
    default, never_error = error_of(loop), error_of(never)
    lines += ["", "error rate over all labelled rows"]
    lines += [
        f"  {never_error:.4f}  never retrained",
        f"  {default:.4f}  with the loop, default policy ({kinds['started']} retrains, {kinds['promoted']} promotions, "
        f"{kinds['refused']} refusals, {kinds['rolled_back']} roll-backs)",
    ]
    answers = np.concatenate([window.served for window in first]) == 1.0
    simulation = Simulation(windows, np.array(errors_per_window(windows, answers)))
    lower = [default < never_error]
    for name, policy in {"default, simulated": Policy(), **neighbouring_policies()}.items():
        error, retrains, promotions, roll_backs = simulation.run(policy)
        if name != "default, simulated":
            lower.append(error < never_error)
        lines.append(f"  {error:.4f}  on the recorded captures: {name} "
                     f"({retrains} retrains, {promotions} promotions, {roll_backs} roll-backs)")  # fmt: skip
    if len(windows) > LABEL_DELAY:
        lines.append(f"  {persistence(windows, 1):.4f}  persistence: the last label, if it were known at once")
        lines.append(f"  {persistence(windows, LABEL_DELAY * WEEK):.4f}  persistence with labels as late as here")
    lines += ["", "messages and calls per handler"]
    lines += [f"  {worked.get(name, 0):6d}  {name}" for name in HANDLERS]
    faults = _faults(kinds, worked, approved, dead_letters, lower)
    if not restated:
        faults.append("no report was restated as labels came")
    return Summary("\n".join(lines), faults, loop, never)


def _wrapped(text: str) -> list[str]:
    return wrap(text, 110, initial_indent=" " * 6, subsequent_indent=" " * 10, break_long_words=False)


def alerts_by_receiver(received: Sequence[Received]) -> dict[str, int]:
    """How many messages each kind of receiver took, by what they say."""
    counts: Counter[str] = Counter()
    for message in received:
        if message.path.startswith("/services/"):
            counts["Slack-compatible messages"] += 1
        elif message.path == "/v2/enqueue":
            counts[f"PagerDuty events ({message.json['event_action']})"] += 1
        else:
            counts[f"signed webhooks ({message.json['data']['state']})"] += 1
    return dict(counts)


def _windows(folder: Path, loop: Sequence[WindowReport], never: Sequence[WindowReport]) -> list[str]:
    lines = [f"{'':26}{'windows':>8}{'silent':>8}{'rows':>8}{'labelled':>10}   windows with violations"]
    for name, endpoint, reports in (("with the loop", LOOP, loop), ("never retrained", FIRST, never)):
        rows, labelled = sum(each.rows for each in reports), sum(each.labelled for each in reports)
        violated = violations_by_type(folder, endpoint, endpoint)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(violated.items()))
        share = labelled / rows if rows else 0.0
        silent = sum(not each.rows for each in reports)
        lines.append(f"  {name:24}{len(reports):8d}{silent:8d}{rows:8d}{share:10.1%}   {kinds}")
    return lines


def _restated(windows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How often reports were restated as labels came, and one window's way; nothing where none was."""
    counts = Counter(len(window["revisions"]) for window in windows if len(window["revisions"]) > 1)
    if not counts:
        return []
    lines = ["reports restated as labels came"]
    lines += [f"  {number:6d}  windows with {count} revisions" for count, number in sorted(counts.items())]
    restated = [window for window in windows if len(window["revisions"]) > 1 and window["maturity"]]
    for window in restated[-1:]:
        way = ", ".join(f"{each['label_coverage']:.0%} at {each['stored_at'][11:16]}" for each in window["revisions"])
        lines += _wrapped(f"window {window['window']['start']}: labelled {way}")
        lines += _wrapped(f"as of {window['as_of']}: {window['summary']}")
    return lines


def _decisions(records: Sequence[Record], outcomes: Sequence[Outcome]) -> list[str]:
    counts = Counter(record.action for record in records)
    lines = ["decisions: " + ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))]
    led_to: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        led_to.setdefault(outcome.decision_id, []).append(outcome)
    for record in records:
        if record.decision_id in led_to:
            lines.append(f"  {record.decision_id[:12]}  {record.action:9}  window {record.window}")
            lines += _wrapped(f"because {record.reasons[0]}")
            for each in led_to[record.decision_id]:
                lines += _wrapped(f"{each.at}  {each.kind}: {each.detail}")
    return lines


def _faults(
    kinds: Mapping[str, int], worked: Mapping[str, int], approved: int, dead_letters: Mapping[str, int],
    lower: Sequence[bool],
) -> list[str]:  # fmt: skip
    wanted = {"started": "no retraining was started", "promoted": "no challenger was promoted",
              "rolled_back": "no past champion was brought back"}  # fmt: skip
    faults = [text for kind, text in wanted.items() if not kinds.get(kind)]
    faults += [f"the handler {name} did no work" for name in HANDLERS if not worked.get(name)]
    if not approved:
        faults.append("no promotion went through a person's approval")
    if not all(lower):
        faults.append("the loop's error is not lower than the never-retrained endpoint's under every setting")
    faults += [f"{count} dead letters of the queue {queue}" for queue, count in dead_letters.items()]
    return faults
