"""`plumbline cost --requests-per-hour N`: what a month of one endpoint costs on AWS, beside Model Monitor's jobs.

Computed from what one invocation of each function was measured to use (`usage.json`, written by
`python -m bench.month --write`) and from list prices. No account is asked.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from importlib.resources import files
from typing import Any

import msgspec

from chalicelib.decisions.policy import Policy
from chalicelib.errors import MisconfiguredError
from chalicelib.facts.news import News
from chalicelib.facts.news import steps as news_steps
from chalicelib.records.window import check_length, parse_duration
from plumbline import prices
from plumbline.cli.terminal.alignment import aligned
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

HOURS = 24 * 30
# Requests of an hour are captured in a file for each minute, and labels are posted every ten minutes.
FILES_AN_HOUR, POSTS_AN_HOUR = 60, 6
LABELLED = 0.97
# CloudWatch metrics of a monitor of data and model quality.
METRICS = 5
_TURN, _HOUR, _DAY = timedelta(minutes=10), timedelta(hours=1), timedelta(days=1)


def evaluations(rows: int, window: timedelta, span: timedelta) -> int:
    """How often a window of so many rows is evaluated, its labels coming evenly within `span` of their requests: by the
    rule of `facts.news` itself."""
    policy = Policy()
    needed = max(policy.min_labelled_rows, round(policy.min_label_coverage * rows))
    news = News("", rows=rows, requests=rows, needed=needed, evaluated=True)
    arrived = rows * LABELLED * min(1.0, 0.5 * window / max(span, _TURN)) if span < window else 0.0
    rate = (rows * LABELLED - arrived) / max(1.0, span / _TURN)
    news = msgspec.structs.replace(news, labelled=round(arrived))
    steps = news_steps(max(span, _DAY))
    count, age, waiting = 1, timedelta(0), 0.0
    while age <= span:
        age += _TURN
        waiting += rate
        asked = bool(steps) and age >= steps[0]
        if asked:
            steps.pop(0)
        news = msgspec.structs.replace(news, pending=round(waiting))
        if news.is_enough or (asked and news.pending):
            count += 1
            labelled = min(rows, news.labelled + news.pending)
            news, waiting = msgspec.structs.replace(news, pending=0, labelled=labelled), 0.0
    return count


def month(
    measured: Mapping[str, Any], requests: int, features: int, window: timedelta, span: timedelta
) -> tuple[prices.Usage, prices.Usage, int]:
    """What a month of the endpoint uses, what a stage uses once for all its monitors, and evaluations a window."""
    rows = max(1, round(requests * (window / _HOUR)))
    restated = evaluations(rows, window, span)
    posts = min(POSTS_AN_HOUR, max(1, requests)) * HOURS
    invocations = {
        "capture_landed": min(FILES_AN_HOUR, requests) * HOURS,
        "ground_truth_posted": posts,
        "ground_truth_landed": round(posts * measured["landed_a_post"]),
        "window_due": round(HOURS * (_HOUR / window)) * restated,
    }
    used: Counter[str] = Counter({"cloudwatch.metrics": METRICS})
    for function, count in invocations.items():
        # An hour's measured rows were an hour's requests; of a file or a post that is its part of them.
        of_window = rows if function == "window_due" else requests
        for name, line in measured["functions"][function].items():
            wider = features / measured["features"] if name == "lambda.gb_seconds" else 1.0
            used[name] += count * (line["each"] + line["row"] * of_window * wider)  # type: ignore[assignment]
    stage: Counter[str] = Counter({"sqs.requests": prices.POLLS_A_MONTH * prices.QUEUES})
    for name, line in measured["functions"]["windows_due"].items():
        stage[name] += 60 * HOURS * line["each"]  # type: ignore[assignment]
    return used, stage, restated


def run(options: argparse.Namespace) -> Answer:
    """The command: the month's bill."""
    if options.requests_per_hour < 1 or options.features < 1:
        raise MisconfiguredError("--requests-per-hour, --features", options.requests_per_hour, "at least 1")
    window = _duration(options.window, "--window")
    check_length(window, "--window")
    span = _duration(options.labels_over, "--labels-over")
    measured = json.loads(files("plumbline").joinpath("usage.json").read_bytes())
    used, stage, restated = month(measured, options.requests_per_hour, options.features, window, span)
    bill, shared = prices.by_service(used), prices.by_service(stage)
    theirs = prices.model_monitor(HOURS * (_HOUR / window), 2)
    total = sum(bill.values())
    if options.json:
        document = {
            "version": 1, "dollars_a_month": total, "by_service": bill, "stage_dollars_a_month": sum(shared.values()),
            "evaluations_a_window": restated, "model_monitor_dollars_a_month": theirs, "prices_as_of": prices.AS_OF,
        }  # fmt: skip
        return Answer(json.dumps(document, indent=2))
    rows = [(name, f"${cost:.2f}") for name, cost in bill.items() if cost >= 0.005]
    jobs = f"{prices.PROCESSING_INSTANCE}, {prices.PROCESSING_MINUTES:.0f} minutes a job"
    lines = [
        f"${total:.2f} a month for this endpoint, data and model quality ({restated} evaluations of a window)",
        *aligned(rows, "  "),
        f"${sum(shared.values()):.2f} a month for the stage, once for all its monitors (polled queues, the clock)",
        f"${theirs:.2f} a month for Model Monitor's processing jobs of the same windows ({jobs})",
        f"list prices of us-east-1 as of {prices.AS_OF}; S3 storage, SageMaker and retraining are not in it",
    ]
    return Answer("\n".join(lines))


def _duration(text: str, option: str) -> timedelta:
    """ISO 8601, or 1h, 30d."""
    short = text.strip().lower()
    if short[:-1].isdecimal() and short[-1:] in "hd":
        text = f"PT{short[:-1]}H" if short[-1] == "h" else f"P{short[:-1]}D"
    return parse_duration(text, option)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline cost` and its arguments."""
    parser = add_command(
        commands,
        "cost",
        "say what a month of one endpoint costs on AWS",
        "From measured calls and list prices, beside what Model Monitor's processing jobs would cost. Asks no account.",
        "cost --requests-per-hour 1000 --labels-over 30d",
    )
    parser.add_argument("--requests-per-hour", type=int, required=True, metavar="N", help="captured requests")
    parser.add_argument("--features", type=int, default=20, metavar="N", help="columns of an input; default: 20")
    parser.add_argument("--window", default="1h", metavar="T", help="the window's length: 1h, 1d, PT6H; default: 1h")
    parser.add_argument(
        "--labels-over", default="2d", metavar="T", help="labels come within this time of their requests; default: 2d"
    )
    parser.add_argument("--json", action="store_true", help="the bill as JSON")
    parser.set_defaults(run=run)
