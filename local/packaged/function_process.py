"""One function in a process of its own, with what the zips hold and the standard library: Lambda's side of an event.

A script, run with `-I -S` so that no installed package and no folder of the repository can be imported:
`function_process.py FUNCTION REQUESTS ANSWERS record|time FOLDER...`. It imports app.py when the first event comes, as
a cold start does, and answers each event with the function's result, the processor seconds of import and event, and
the AWS calls that its clients made. Requests and answers are lines of JSON on the two file descriptors.

Imports the standard library only until the first event. Refuses to know what the function does.
"""

import json
import sys
import time
import traceback
from datetime import datetime
from types import SimpleNamespace

WEBHOOK = "ground_truth_posted"


def main() -> None:
    function, requests, answers, mode, *folders = sys.argv[1:]
    sys.path[:0] = folders
    state = SimpleNamespace(now=None, call=None, calls=[])
    with open(int(requests), encoding="utf-8") as reading, open(int(answers), "w", encoding="utf-8") as writing:
        serve(function, mode, state, reading, writing)


def serve(function, mode, state, reading, writing):
    """Answer each request until there are no more."""
    for line in reading:
        request = json.loads(line)
        state.now = datetime.fromisoformat(request["now"])
        answer = {}
        began = time.process_time()
        try:
            if state.call is None:
                state.call = start(function, state, mode)
                answer["import_cpu"] = time.process_time() - began
                began = time.process_time()
            answer["result"] = state.call(request["event"], context(request["context"]))
        except Exception as error:
            answer["error"] = type(error).__name__
            answer["traceback"] = traceback.format_exc()
        answer["event_cpu"] = time.process_time() - began
        answer["calls"], state.calls[:] = list(state.calls), []
        writing.write(json.dumps(answer) + "\n")
        writing.flush()


def start(function, state, mode):
    """Import the app; its services tell the time of the stand-in. Returns what Lambda would call."""
    if function == "boto3":  # what a cold start is measured against
        import boto3

        return lambda event, context: boto3.__version__
    import app
    from chalicelib import settings, wiring

    wiring.use(wiring.LazyServices(settings.load(), now=lambda: state.now))
    if mode == "record":
        record(state.calls)
    return app.app if function == WEBHOOK else getattr(app, function)


def record(calls):
    """Note every call of every client that boto3 makes from now on: service, operation, the names in its parameters."""
    import boto3

    def note(params, model, **_):
        names = {name: value for name, value in params.items() if isinstance(value, str)}
        calls.append([model.service_model.service_name, model.name, names])

    boto3.setup_default_session()
    boto3.DEFAULT_SESSION.events.register("provide-client-params.*.*", note)


def context(fields):
    """The context object that Lambda gives a function."""
    return SimpleNamespace(**fields, get_remaining_time_in_millis=lambda: 1000 * fields["timeout"])


if __name__ == "__main__":
    main()
