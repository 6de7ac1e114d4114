"""The whole emulator: AWS, SageMaker, receiver, clock, pump and the app, connected for a replay."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chalicelib import wiring
from chalicelib.settings import from_environment
from demo.account import BUCKET, STAGE, Account, environment, furnish
from demo.run import START, Replay
from demo.stream import load
from demo.web import poster
from emulator.alarms import AlarmEvaluator
from emulator.aws import LocalAws, StandInError, create_resources
from emulator.clock import LogicalClock
from emulator.pump import Pump
from emulator.receiver import Receiver
from emulator.sagemaker_server import SageMakerServer

Captures = Mapping[str, bytes]
Apart = Callable[[Mapping[str, str], LogicalClock], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def world(
    folder: Path,
    policy: Mapping[str, object] | None = None,
    recorder: Callable[[str, str], None] | None = None,
    progress: Callable[[int, int], None] = lambda hour, hours: None,
    apart: Apart | None = None,
    captures: Captures | None = None,
) -> Iterator[Replay]:
    """A running emulator with a replay ready to run; its state lies in `folder` and its processes end with the block.

    The handlers' clients are boto3's, pointed at the emulator by AWS's own endpoint settings; nothing else tells the
    handlers where they are. `policy` changes fields of the loop's policy; `recorder` sees every queue message.
    The functions run in this process, or in the one that `apart` makes of an environment and the clock. With `captures`
    the endpoints write these files, which an earlier run has captured, whatever they answer.
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
            aws.client("s3") if captures is None else _Recorded(aws.client("s3"), captures),
            now=clock.now,
            emit=lambda event: pumps[0].deliver(event),
            step_environment=aws.environment(),
        )
        stack.callback(sagemaker.close)
        aws.sagemaker_url = sagemaker.start()
        create_resources(aws, STAGE, [BUCKET])
        os.environ.update(environment(aws, receiver.url))
        aws.install()
        services = wiring.LazyServices(from_environment(os.environ), now=clock.now)
        functions: Any
        if apart is None:
            wiring.use(services)
            stack.callback(wiring.use, None)
            functions = importlib.import_module("app")
            post = poster(functions)
        else:
            functions = stack.enter_context(apart(os.environ, clock))
            post = functions.post
        pumps.append(Pump(aws, functions, clock=clock, recorder=recorder))
        account = Account(aws, sagemaker, AlarmEvaluator(aws, clock))
        stream = load()
        furnish(account, stream, receiver.url)
        yield Replay(account, services, post, pumps[0], clock, stream, receiver, progress, policy or {})


class _Recorded:
    """The endpoints' S3 client, with recorded bytes for the capture files that they write."""

    def __init__(self, s3: Any, captures: Captures) -> None:
        self._s3 = s3
        self._captures = captures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def put_object(self, *, Key: str, Body: bytes, **rest: Any) -> Any:
        if Key.startswith("captures/"):
            if Key not in self._captures:
                raise StandInError(f"{Key} is not among the recorded captures")
            Body = self._captures[Key]
        return self._s3.put_object(Key=Key, Body=Body, **rest)


def _restore(before: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)
