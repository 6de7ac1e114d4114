"""The whole stand-in, wired: AWS, SageMaker, receiver, clock, pump and the app, ready for a replay."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from chalicelib import wiring
from chalicelib.settings import from_environment
from local.alarms import AlarmEvaluator
from local.aws import LocalAws, create_resources
from local.clock import LogicalClock
from local.pump import Pump
from local.receiver import Receiver
from local.replay.account import BUCKET, STAGE, Account, environment, furnish
from local.replay.run import START, Replay
from local.replay.stream import load
from local.sagemaker_server import SageMakerServer


@contextlib.contextmanager
def world(
    folder: Path,
    policy: Mapping[str, object] | None = None,
    recorder: Callable[[str, str], None] | None = None,
    progress: Callable[[int, int], None] = lambda hour, hours: None,
) -> Iterator[Replay]:
    """A running stand-in with a replay ready to run; its state lies in `folder` and its processes end with the block.

    The handlers' clients are boto3's, pointed at the stand-in by AWS's own endpoint settings; nothing else tells the
    handlers where they are. `policy` changes fields of the loop's policy; `recorder` sees every queue message.
    """
    before = dict(os.environ)
    clock = LogicalClock(START)
    with contextlib.ExitStack() as stack:
        stack.callback(_restore, before)
        receiver = stack.enter_context(Receiver())
        aws = stack.enter_context(LocalAws())
        clock.follow(aws.set_time)
        pumps: list[Pump] = []  # SageMaker's events have nowhere to go before the queues exist
        sagemaker = SageMakerServer(
            folder / "sagemaker",
            aws.client("s3"),
            now=clock.now,
            emit=lambda event: pumps[0].deliver(event),
            step_environment=aws.environment(),
        )
        stack.callback(sagemaker.close)
        aws.sagemaker_url = sagemaker.start()
        create_resources(aws, STAGE, [BUCKET])
        os.environ.update(environment(aws, receiver.url))
        aws.install()
        app = importlib.import_module("app")
        services = wiring.LazyServices(from_environment(os.environ), now=clock.now)
        wiring.use(services)
        stack.callback(wiring.use, None)
        pumps.append(Pump(aws, app, clock=clock, recorder=recorder))
        account = Account(aws, sagemaker, AlarmEvaluator(aws, clock))
        stream = load()
        furnish(account, stream, receiver.url)
        yield Replay(account, services, app, pumps[0], clock, stream, receiver, progress, policy or {})


def _restore(before: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)
