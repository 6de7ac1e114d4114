"""The replay's events delivered a second time, shuffled and with repeats, change no report and cause no second effect.

A real run of the emulator, shortened, under a policy that retrains early; what is looked at afterwards is the account.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from chalicelib.facts import champions, decisions
from demo.account import BUCKET, LOOP
from demo.run import Replay
from emulator.world import world

WINDOWS = 17

# Weeks in which the first model is stale already.
STALE = 56

# Cheap retrains, so that a short stream has them; the first challenger is approved by hand as in the demo.
POLICY: dict[str, object] = {"cost": 0.02, "reference_windows": 2, "holdback_windows": 2, "cool_down_windows": 2}


def objects(replay: Replay) -> dict[str, str]:
    """Key -> ETag of everything in the bucket, but for what depends on the moment: label_maturity, filters of ids."""
    pages = replay.account.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    found = {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}
    return {key: etag for key, etag in found.items() if not re.search("/label_maturity.json$|/ids/|/filter", key)}


def effects(replay: Replay) -> dict[str, Any]:
    """Everything that cannot be taken back."""
    sagemaker = replay.account.client("sagemaker")
    return {
        "executions": sorted(
            each["PipelineExecutionArn"]
            for each in sagemaker.list_pipeline_executions(PipelineName="plumbline-retraining", MaxResults=100)[
                "PipelineExecutionSummaries"
            ]
        ),
        "champion": champions.load_champion(replay.services.ledger, LOOP),
        "serving": sagemaker.describe_endpoint(EndpointName=LOOP)["EndpointConfigName"],
        "endpoints": sorted(each["EndpointName"] for each in sagemaker.list_endpoints(MaxResults=100)["Endpoints"]),
        "delivered": [(each.path, each.body) for each in replay.receiver.accepted],
        "outcomes": decisions.outcomes(replay.services.ledger, LOOP),
        "decisions": decisions.references(replay.services.ledger, LOOP),
    }


@pytest.mark.parametrize("seed", [1])
def test_events_delivered_again_change_nothing(tmp_path: Path, seed: int) -> None:
    recorded: list[tuple[str, str]] = []
    with world(tmp_path, policy=POLICY, recorder=lambda queue, body: recorded.append((queue, body))) as replay:
        replay.first_week = STALE
        replay.run(WINDOWS)
        replay.rest(2)  # what the last labels change is decided when the clock comes round
        outcomes = decisions.outcomes(replay.services.ledger, LOOP)
        kinds = {outcome.kind for outcome in outcomes}
        assert {"started", "promoted"} <= kinds, f"the shortened run must act, or repeating it says nothing: {kinds}"
        before, stored = effects(replay), objects(replay)

        # What came before there was a monitor found nobody then: when it comes again it is news.
        first = next(place for place, (queue, _) in enumerate(recorded) if queue == "captures")
        heard = recorded[first:]
        again = [*heard, *random.Random(seed).sample(heard, len(heard) // 4)]
        random.Random(seed).shuffle(again)
        for queue, body in again:
            replay.pump.send(queue, body)
        replay.pump.drain()
        replay.rest(2)  # what the events marked due is evaluated when the clock comes round

        assert replay.pump.dead_letters() == {}
        assert replay.pump.failures == []
        after = effects(replay)
        later = {
            key: etag for key, etag in objects(replay).items() if key in stored
        }  # the quiet hours are windows of their own
        assert later == stored
        for name in before:
            if name in ("decisions", "delivered"):
                # Silent hours are decided and told too; nothing that was there is told twice or decided anew.
                assert after[name][: len(before[name])] == before[name]
            else:
                assert after[name] == before[name]
        told = [each for each in after["delivered"] if each in before["delivered"]]
        assert len(told) == len(before["delivered"])
