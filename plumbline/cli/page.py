"""`plumbline page --url URL`: a link to the stage's page that holds for some hours."""

from __future__ import annotations

import argparse
from datetime import timedelta
from urllib.parse import urlsplit

from chalicelib import wiring
from chalicelib.errors import MisconfiguredError
from chalicelib.page_sessions import LONGEST, session
from plumbline.cli.terminal.usage import add_command

MOST_HOURS = int(LONGEST / timedelta(hours=1))


def run(options: argparse.Namespace) -> tuple[str, int]:
    """The command: prints the link."""
    services = wiring.services()
    parts = urlsplit(options.url)
    if parts.scheme != "https" or not parts.netloc:
        raise MisconfiguredError("--url", options.url, "https://…, the address in the stack's output EndpointURL")
    if not 1 <= options.hours <= MOST_HOURS:
        raise MisconfiguredError("--hours", options.hours, f"a whole number from 1 to {MOST_HOURS}")
    parameter = services.settings.page_key_parameter
    if not parameter:
        raise MisconfiguredError("PLUMBLINE_PAGE_KEY", "", "the name of the parameter or secret with the page's key")
    keys = services.keys_of("page_key_parameter")
    if not keys:
        raise MisconfiguredError(parameter, "a text that is not shown", "a key")
    made = session(keys[0], services.settings.stage, services.now(), timedelta(hours=options.hours))
    return f"{options.url.rstrip('/')}/?session={made}", 0


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline page` and its arguments."""
    parser = add_command(
        commands,
        "page",
        "print a link to the stage's page",
        "Anyone with the link reads the page until it ends, so send it only to your own people. Needs permission to "
        "read the key, which the stack's parameter PageKey names.",
        "page --url https://abc.execute-api.eu-west-1.amazonaws.com/api",
    )
    parser.add_argument("--url", required=True, metavar="URL", help="the stack's output EndpointURL")
    parser.add_argument("--hours", type=int, default=MOST_HOURS, metavar="N", help=f"1 to {MOST_HOURS}, the default")
    parser.set_defaults(run=run)
