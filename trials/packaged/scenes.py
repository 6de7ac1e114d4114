"""What a short replay does not show: files that cannot be read, lost events, leases that run out, a rejection, secrets.

Each scene changes facts or objects as a crash, a person or AWS would have left them, and lets the packaged functions
continue from there; permissions that are seldom needed are needed nevertheless. Not here: what the functions answer
(the recorder has it).
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition
from chalicelib.facts import champions, claims, decisions, due, evaluations, incidents, labels, rebuilds, standings
from chalicelib.facts.document import change, monitor_partition
from chalicelib.handlers.windows_due import MONITORS_A_PART
from chalicelib.page_sessions import session
from chalicelib.records.times import iso
from chalicelib.records.window import Window
from chalicelib.workflows.label_batches import SETTLED_AFTER, SPAN
from chalicelib.workflows.label_containers import FEWEST, HOUR
from demo.account import BUCKET, FIRST, HOOK_SECRET, LOOP, STAGE, WEBHOOK_SECRET, definition
from demo.run import Replay
from plumbline.cli.add import add_monitor
from plumbline.cli.remove import remove
from trials.packaged.functions import PackagedFunctions

HOOK_NAME, WEBHOOK_NAME = "plumbline/demo/routes/hook-key", "plumbline/demo/webhook-keys"
PAGE_NAME = "plumbline/demo/page-key"


class Scenes:
    """The scenes over a replay that has run; `play` runs all of them, in an order in which none spoils the next."""

    def __init__(self, replay: Replay, functions: PackagedFunctions) -> None:
        self._replay = replay
        self._functions = functions
        self._ledger = replay.services.ledger
        self._s3 = replay.account.client("s3")

    @property
    def _definition(self) -> Definition:
        return self._replay.services.definitions.get(LOOP)

    def play(self) -> None:
        """All scenes. Raises AssertionError where one did not get as far as it was meant to."""
        self._unreadable_files()
        self._broken_schema()
        self._lost_labels()
        self._late_capture_file()
        self._roll_back()
        self._refusal()
        self._lost_start()
        self._lost_approval()
        self._rejection()
        self._lost_execution()
        self._lost_promotion()
        self._many_label_objects()
        self._labels_after_their_day()
        self._deployed_by_hand()
        self._many_monitors()
        self._pages()
        self._other_secrets()

    def _put(self, prefix: str, name: str, body: bytes) -> None:
        key = keys.join(prefix, keys.hour_folder(self._replay.clock.now()), name)
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def _tick(self) -> None:
        """The clock's rule, after every lease has run out."""
        self._replay.clock.advance(by=2 * claims.LEASE)
        self._replay.pump.call_schedule("windows_due", "clock")
        self._replay._settle()

    def _hour(self) -> None:
        self._replay.rest(1)

    def _unreadable_files(self) -> None:
        self._put(f"captures/{LOOP}/AllTraffic", "unreadable.jsonl", b"\xff\xfe no capture")
        self._put(f"ground-truth/{LOOP}", "unreadable.jsonl", b"\xff\xfe no label")
        self._replay._settle()
        found = self._s3.list_objects_v2(Bucket=BUCKET, Prefix=f"plumbline/payload/{LOOP}/quarantine/")
        assert found["KeyCount"] == 2, "expected a quarantine record for each unreadable file"

    def _broken_schema(self) -> None:
        time = iso(self._replay.clock.now())
        sides = {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2", "encoding": "CSV"},
            "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "0.5", "encoding": "CSV"},
        }
        line = {
            "captureData": sides,
            "eventMetadata": {"eventId": "two-columns", "inferenceTime": time},
            "eventVersion": "0",
        }
        self._put(f"captures/{LOOP}/AllTraffic", "two-columns.jsonl", json.dumps(line).encode())
        self._replay._settle()

    def _lost_labels(self) -> None:
        """S3's event is lost; the first evaluation of the window lists its arrival hour and finds the object."""
        entry = {"groundTruthData": {"data": "1", "encoding": "CSV"}, "eventMetadata": {"eventId": "unknown"}}
        self._put(f"ground-truth/{LOOP}", "event-lost.jsonl", json.dumps({**entry, "eventVersion": "0"}).encode())
        aws = self._replay.account.aws
        assert aws.resources is not None
        aws.client("sqs").purge_queue(QueueUrl=aws.resources.queue_urls["ground-truth"])
        self._hour()
        self._hour()

    def _late_capture_file(self) -> None:
        """A capture file lands in a window that was evaluated: the window is measured again, what it was goes."""
        newest = evaluations.newest(self._ledger, LOOP)
        assert newest is not None
        window = self._window(newest.window)
        folder = f"captures/{LOOP}/AllTraffic/{keys.hour_folder(window.start)}"
        listed = self._s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{folder}/")["Contents"]
        body = self._s3.get_object(Bucket=BUCKET, Key=listed[0]["Key"])["Body"].read()
        self._s3.put_object(Bucket=BUCKET, Key=f"{folder}/late.jsonl", Body=body)
        self._replay._settle()
        self._tick()
        stored = evaluations.load_evaluation(self._ledger, LOOP, window.name)
        assert stored is not None and stored.value.measured != newest.measured, "expected the window measured again"

    def _labels_after_their_day(self) -> None:
        """The first day is over: its lists of ids become a filter, in which labels without a time are looked up."""
        _, entry = self._known_label(newest=False)
        day = Window.of(self._replay.clock.now(), SPAN)
        self._replay.clock.advance(to=day.end + SETTLED_AFTER)
        for name in ("makes-the-filter", "reads-the-filter"):
            self._put(f"ground-truth/{LOOP}", f"{name}.jsonl", json.dumps(entry).encode())
            self._replay._settle()
            self._tick()
            self._tick()
        found = self._s3.list_objects_v2(Bucket=BUCKET, Prefix=keys.filters_prefix(LOOP))
        assert found["KeyCount"], "expected a filter of the day's ids"

    def _known_label(self, newest: bool) -> tuple[Window, dict[str, Any]]:
        """The newest or the oldest window with merged records, and the label of one of its requests as it is known."""
        there = self._s3.list_objects_v2(Bucket=BUCKET, Prefix=f"reports/merge/{LOOP}/")["Contents"]
        merged = there[-1 if newest else 0]["Key"]
        line = json.loads(self._s3.get_object(Bucket=BUCKET, Key=merged)["Body"].read().splitlines()[0])
        metadata = line["eventMetadata"]
        entry = {
            "groundTruthData": line["groundTruthData"],
            "eventMetadata": {"eventId": metadata.get("inferenceId") or metadata["eventId"]},
            "eventVersion": "0",
        }
        hourly = keys.parse_hourly(merged)
        assert hourly is not None
        return Window.of(hourly.hour, self._definition.window_length), entry

    def _many_label_objects(self) -> None:
        """An object for each label: copied into a container, from which a window is rebuilt when they have expired."""
        window, entry = self._known_label(newest=True)
        unknown = {**entry, "eventMetadata": {"eventId": "unknown"}}
        hour = Window.of(self._replay.clock.now(), HOUR)
        folder = keys.join(f"ground-truth/{LOOP}", keys.hour_folder(hour.start))
        for number in range(FEWEST):
            self._put(f"ground-truth/{LOOP}", f"post-{number}.jsonl", json.dumps(unknown if number else entry).encode())
        self._replay._settle()
        self._tick()
        self._hour()
        self._hour()
        prefix = keys.label_containers_prefix(LOOP, hour.name)
        assert self._s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["KeyCount"] == 1, "expected a container"
        first = f"{folder}/post-0.jsonl"
        etag = self._s3.head_object(Bucket=BUCKET, Key=first)["ETag"].strip('"')
        for number in range(FEWEST):
            self._s3.delete_object(Bucket=BUCKET, Key=f"{folder}/post-{number}.jsonl")
        now = self._replay.clock.now()
        due.mark(self._ledger, LOOP, window, timedelta(0), now, anew=True)
        # As if it had more ids than the table keeps, and they had not been looked up.
        waiting = labels.Awaiting(labels.Source(BUCKET, first, etag, hour.name), now, all=True)
        labels.add_awaiting(self._ledger, LOOP, waiting, now + self._definition.horizon)
        self._tick()
        stored = rebuilds.read(self._ledger, LOOP, window.name)
        assert stored is not None and stored.value.outcome == "REBUILT", "expected the container's labels to be enough"
        assert not labels.awaiting(self._ledger, LOOP), "expected the container's labels to be looked up"

    def _roll_back(self) -> None:
        """The newest settled window has decided to bring back a past champion; its worker crashed before the claim."""
        newest = evaluations.newest_settled(self._ledger, LOOP)
        champion = self._champion()
        self._no_claim_in_flight()
        due.mark(self._ledger, LOOP, self._window(newest), timedelta(0), self._replay.clock.now())
        self._tick()  # the decision of today's evidence
        reference = decisions.references(self._ledger, LOOP, newest)[-1]

        def serve(stored: decisions.Record | None) -> decisions.Record:
            assert stored is not None
            return msgspec.structs.replace(stored, serve=champion.pool[0].name, generation=champion.generation)

        for each in decisions.references(self._ledger, LOOP, newest):
            change(self._ledger, f"DECISION#{each.decision_id}", "RECORD", decisions.Record, serve)
        due.mark(self._ledger, LOOP, self._window(newest), timedelta(0), self._replay.clock.now())
        self._tick()
        self._hour()
        assert self._champion().generation == champion.generation + 1, f"expected {reference.decision_id} to roll back"

    def _refusal(self) -> None:
        """The pipeline registers nothing: its evaluation says why."""
        claim, store = self._retrain(state="STARTED"), self._replay.account.sagemaker._store
        execution = store.get("execution", claim.execution_arn)
        assert execution is not None
        steps = [{**step, "Metadata": {}} for step in execution["Steps"]]
        store.put("execution", claim.execution_arn, {**execution, "Steps": steps})
        self._tick()
        store.put("execution", claim.execution_arn, execution)
        refused = claims.load_retrain(self._ledger, LOOP)
        assert refused is not None and refused.state == "REFUSED", "expected an execution without a package to end it"

    def _lost_start(self) -> None:
        self._retrain(state="STARTING")
        self._tick()

    def _lost_approval(self) -> None:
        """The approval's event is lost; the claim goes on and finds that its generation is gone."""
        claim = self._retrain(state="AWAITING_APPROVAL", package_arn=self._package())
        self._approval(claim)
        self._tick()
        self._hour()

    def _rejection(self) -> None:
        """A person rejects the challenger of a retraining without an outcome yet."""
        ended = {outcome.decision_id for outcome in decisions.outcomes(self._ledger, LOOP)}
        undecided = [each for each in decisions.references(self._ledger, LOOP) if each.decision_id not in ended]
        newest = undecided[-1].decision_id
        claim = self._retrain(state="AWAITING_APPROVAL", package_arn=self._package(), decision_id=newest)
        self._approval(claim)
        for status in ("PendingManualApproval", "Rejected"):  # an earlier scene may have left it rejected
            self._replay.account.client("sagemaker").update_model_package(
                ModelPackageArn=claim.package_arn, ModelApprovalStatus=status, ApprovalDescription="by hand"
            )
        self._replay._settle()
        rejected = claims.load_retrain(self._ledger, LOOP)
        assert rejected is not None and rejected.state == "REFUSED", "expected the rejection to end the retraining"

    def _lost_execution(self) -> None:
        claim = self._retrain(state="STARTED")
        self._retrain(state="STARTED", execution_arn=f"{claim.execution_arn[:-4]}none")
        self._tick()

    def _lost_promotion(self) -> None:
        """A promotion crashed while it cleaned up."""
        self._set("CLAIM#PROMOTION", claims.PromotionClaim, state="ENDING", ending="SUPERSEDED", kind="promote")
        self._tick()

    def _deployed_by_hand(self) -> None:
        """Somebody gives the endpoint another model, first unheard; then the champion serves again."""
        sagemaker = self._replay.account.client("sagemaker")
        own = sagemaker.describe_endpoint(EndpointName=LOOP)["EndpointConfigName"]
        config = sagemaker.describe_endpoint_config(EndpointConfigName=own)
        model = f"{FIRST}-by-hand"
        first = sagemaker.describe_endpoint_config(
            EndpointConfigName=sagemaker.describe_endpoint(EndpointName=FIRST)["EndpointConfigName"]
        )["ProductionVariants"][0]["ModelName"]
        described = sagemaker.describe_model(ModelName=first)
        sagemaker.create_model(
            ModelName=model,
            PrimaryContainer=described["PrimaryContainer"],
            ExecutionRoleArn=described["ExecutionRoleArn"],
        )
        variants = [{**each, "ModelName": model} for each in config["ProductionVariants"]]
        sagemaker.create_endpoint_config(
            EndpointConfigName=model, ProductionVariants=variants, DataCaptureConfig=config["DataCaptureConfig"]
        )
        for wanted, state in ((model, "OPEN"), (own, "RESOLVED")):
            sagemaker.update_endpoint(EndpointName=LOOP, EndpointConfigName=wanted)
            self._replay._settle()
            self._hour()
            found = incidents.load_incident(self._ledger, LOOP, "deployment")
            assert found and found.state == state, f"expected an incident of another model: {state}"

    def _many_monitors(self) -> None:
        """More monitors than one tick tends: the clock sends itself a message for each part."""
        services = self._replay.services
        own = definition(FIRST, self._replay.receiver.url)
        names = [f"many-{number}" for number in range(MONITORS_A_PART)]
        for name in names:
            add_monitor(services, msgspec.structs.replace(own, name=name))
        self._hour()
        self._hour()
        assert {each.monitor for each in standings.all_standings(self._ledger)} >= set(names), "expected all tended"
        for name in names:
            remove(services, name)

    def _pages(self) -> None:
        """Somebody reads the page with a session, whose key lies in either store."""
        key = "the key of the packaged demo's page"
        self._replay.account.client("ssm").put_parameter(
            Name=f"/{PAGE_NAME}", Value=key.replace(" ", "-"), Type="String"
        )
        self._replay.account.client("secretsmanager").create_secret(Name=PAGE_NAME, SecretString=key.replace(" ", "-"))
        made = session(key.replace(" ", "-"), STAGE, self._replay.clock.now())
        for name in (f"/{PAGE_NAME}", f"secretsmanager:{PAGE_NAME}"):
            os.environ["PLUMBLINE_PAGE_KEY"] = name
            self._functions.end_all()
            for path in ("/", f"/monitors/{LOOP}", f"/monitors/{LOOP}.json"):
                status, body = self._functions.get(path, {"Authorization": f"Bearer {made}"})
                assert status == 200 and LOOP.encode() in body, f"expected the page {path} with a session"
            assert self._functions.get("/", {})[0] == 401, "expected no page without a session"

    def _other_secrets(self) -> None:
        """The webhook's keys and a route's key lie in Secrets Manager instead of the Parameter Store."""
        manager = self._replay.account.client("secretsmanager")
        manager.create_secret(Name=HOOK_NAME, SecretString=HOOK_SECRET)
        manager.create_secret(Name=WEBHOOK_NAME, SecretString=WEBHOOK_SECRET)
        changed = definition(LOOP, self._replay.receiver.url, promotion="auto")
        routes = tuple(
            msgspec.structs.replace(route, secret=f"secretsmanager:{HOOK_NAME}") if route.kind == "webhook" else route
            for route in changed.routes
        )
        add_monitor(self._replay.services, msgspec.structs.replace(changed, routes=routes))
        os.environ["PLUMBLINE_WEBHOOK_KEYS"] = f"secretsmanager:{WEBHOOK_NAME}"
        self._functions.end_all()
        before = self._replay.posts[202]
        self._replay._post_labels(0)
        assert self._replay.posts[202] > before, "expected the webhook to take labels with a key of Secrets Manager"
        self._retrain(state="STARTED", execution_arn="arn:aws:sagemaker:us-east-1:123456789012:pipeline/x/execution/no")
        self._tick()  # an alert, for the routes

    # What the scenes begin with -------------------------------------------------------------------------------------

    def _window(self, name: str) -> Window:
        return Window.parse(name, self._definition.window_length)

    def _champion(self) -> champions.Champion:
        found = champions.load_champion(self._ledger, LOOP)
        assert found is not None
        return found

    def _no_claim_in_flight(self) -> None:
        claim = claims.load_promotion(self._ledger, LOOP)
        assert claim is None or not claim.in_flight

    def _package(self) -> str:
        """The newest registered package."""
        found = self._replay.account.client("sagemaker").list_model_packages(ModelPackageGroupName=LOOP)
        return str(max(each["ModelPackageArn"] for each in found["ModelPackageSummaryList"]))

    def _approval(self, claim: claims.RetrainClaim) -> None:
        """The claim's package waits for a person, whatever it was registered for."""
        asked = claims.Approval(LOOP, claim.decision_id)
        change(self._ledger, f"PACKAGE#{claim.package_arn}", "APPROVAL", claims.Approval, lambda _: asked)

    def _retrain(self, **fields: Any) -> claims.RetrainClaim:
        claim: claims.RetrainClaim = self._set("CLAIM#RETRAIN", claims.RetrainClaim, **fields)
        return claim

    def _set(self, sk: str, document: type[Any], /, **fields: Any) -> Any:
        def think(stored: Any) -> Any:
            assert stored is not None, f"{sk}: the replay made no such claim"
            return msgspec.structs.replace(stored, lease_until=self._replay.clock.now(), **fields)

        stored, _ = change(self._ledger, monitor_partition(LOOP), sk, document, think)
        return stored
