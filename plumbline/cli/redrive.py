"""`plumbline redrive`: show dead letters, predict what a replay would do, and send them back or delete them.

Each message is sent before it is deleted: a crash in between leaves one message in both queues, and every handler
tolerates repeats.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from chalicelib import settings, wiring
from chalicelib.errors import MisconfiguredError, PlumblineError
from chalicelib.ports import DeadLetter, DeadLetters
from chalicelib.records.times import iso
from chalicelib.topology import SOURCES
from chalicelib.wiring import Services
from plumbline.cli.account.dead_letters import Judgement, Verdict, judge
from plumbline.cli.terminal.answer import Answer
from plumbline.cli.terminal.usage import add_command

# At most this many letters are read from a queue; the others are counted, and come up when these are gone.
MOST = 1000

# Visibility timeouts while letters are shown or moved: longer than either takes for MOST letters.
LOOK_SECONDS = 30
MOVE_SECONDS = 300

# Of letters that are alike, this many ids are shown; --json has all.
IDS_SHOWN = 3

# After two empty answers nothing is left to receive.
EMPTY_ANSWERS = 2

Action = Literal["show", "replay", "delete"]
Fate = Literal["", "replayed", "deleted", "left", "doubled"]

_FUNCTIONS = {source.queue: source.function for source in SOURCES}
_WORDS = {
    "nothing": "a replay would do nothing",
    "works": "a replay would work",
    "fails": "a replay would fail again",
    "unknown": "what a replay would do is unknown",
}


class Shown(msgspec.Struct, frozen=True):
    """One letter with its judgement; `fate` is what was done with it, `trouble` why that failed.

    "doubled": it was sent back, but is still in the dead-letter queue.
    """

    letter: DeadLetter
    judgement: Judgement
    fate: Fate = ""
    trouble: str = ""


class Queue(msgspec.Struct, frozen=True):
    """One dead-letter queue: the selected letters, how many others were read, and how many could not be read."""

    name: str
    shown: tuple[Shown, ...]
    others: int = 0
    unread: int = 0


def redrive(
    services: Services, dead: DeadLetters, queues: Sequence[str], messages: Sequence[str], action: Action
) -> list[Queue]:
    """Read the dead-letter queues (none named: all) and act on the selected letters (no id: all).

    Raises MisconfiguredError for an unknown queue and for deleting without ids, NotFoundError for a missing queue.
    """
    for name in queues:
        if name not in _FUNCTIONS:
            raise MisconfiguredError("queue", name, "one of " + ", ".join(_FUNCTIONS))
    if action == "delete" and not messages:
        raise MisconfiguredError("--message", None, "with --delete, the ids of the messages to delete")
    wanted = [name for name in _FUNCTIONS if name in queues or not queues]
    return [_queue(services, dead, name, frozenset(messages), action) for name in wanted]


def _queue(services: Services, dead: DeadLetters, name: str, messages: frozenset[str], action: Action) -> Queue:
    letters, unread = _look(dead, name, LOOK_SECONDS if action == "show" else MOVE_SECONDS)
    gone: set[str] = set()
    shown = []
    try:
        for letter in sorted(letters, key=lambda letter: (letter.first_sent, letter.message_id)):
            if messages and letter.message_id not in messages:
                continue
            # Judged before it is sent: afterwards a function may already be working on it.
            found = Shown(letter, judge(services, name, letter.body))
            shown.append(found if action == "show" else _act(dead, name, found, action))
            if shown[-1].fate in ("replayed", "deleted"):
                gone.add(letter.message_id)
    finally:
        left = [letter for letter in letters if letter.message_id not in gone]
        _quietly(lambda: dead.release(name, left))
    return Queue(name, tuple(shown), len(letters) - len(shown), unread)


def _look(dead: DeadLetters, name: str, seconds: int) -> tuple[list[DeadLetter], int]:
    """Every letter that can be received now, at most MOST, and the number of others."""
    visible, hidden = dead.count(name)
    found: dict[str, DeadLetter] = {}
    empty = 0
    while visible and len(found) < MOST and empty < EMPTY_ANSWERS:
        page = dead.receive(name, seconds)
        fresh = {letter.message_id: letter for letter in page if letter.message_id not in found}
        found |= fresh
        empty = 0 if fresh else empty + 1
        if len(found) >= visible and len(page) < 10:
            break
    return list(found.values()), max(visible - len(found), 0) + hidden


def _act(dead: DeadLetters, name: str, shown: Shown, action: Action) -> Shown:
    letter = shown.letter
    if action == "replay" and (trouble := _quietly(lambda: dead.send_back(name, letter))):
        return msgspec.structs.replace(shown, fate="left", trouble=trouble)
    if trouble := _quietly(lambda: dead.delete(name, letter)):
        return msgspec.structs.replace(shown, fate="doubled" if action == "replay" else "left", trouble=trouble)
    return msgspec.structs.replace(shown, fate="replayed" if action == "replay" else "deleted")


def _quietly(do: Callable[[], None]) -> str:
    """The error's text, or "" when it worked: one failed message must not stop the others."""
    try:
        do()
    except Exception as error:
        if not (isinstance(error, PlumblineError) or wiring.is_aws_error(error)):
            raise
        return " ".join(str(error).split())
    return ""


def missing(queues: Sequence[Queue], messages: Sequence[str]) -> list[str]:
    """Requested ids that were not found."""
    found = {shown.letter.message_id for queue in queues for shown in queue.shown}
    return [message for message in dict.fromkeys(messages) if message not in found]


def all_well(queues: Sequence[Queue], messages: Sequence[str]) -> bool:
    """Whether everything requested was found and done."""
    failed = any(shown.fate in ("left", "doubled") for queue in queues for shown in queue.shown)
    return not failed and not missing(queues, messages)


def text(stage: str, table: str, queues: Sequence[Queue], messages: Sequence[str], action: Action) -> str:
    """The letters as text, by queue; letters with the same judgement and fate are grouped."""
    total = sum(len(queue.shown) for queue in queues)
    looked = f"{len(queues)} queue{'' if len(queues) == 1 else 's'} looked into"
    lines = [f"stage {stage}, judged by table {table}: {_letters(total)}, {looked}"]
    for queue in queues:
        if not queue.shown and not queue.unread:
            continue
        lines += ["", f"{queue.name} -> {_FUNCTIONS[queue.name]}: {_letters(len(queue.shown))}{_beside(queue)}"]
        for alike in _alike(queue.shown):
            lines += _lines(alike)
    if total:
        lines += ["", _advice(queues) if action == "show" else _sum(queues)]
    lines += [f"message {each}: not found" for each in missing(queues, messages)]
    return "\n".join(lines)


def _alike(shown: Sequence[Shown]) -> list[list[Shown]]:
    """Letters grouped by judgement and fate, in the order of the first of each group."""
    kinds: dict[tuple[Judgement, Fate, str], list[Shown]] = {}
    for each in shown:
        kinds.setdefault((each.judgement, each.fate, each.trouble), []).append(each)
    return list(kinds.values())


def _lines(alike: Sequence[Shown]) -> list[str]:
    first, letters = alike[0], [shown.letter for shown in alike]
    count = f"{len(alike)} times: " if len(alike) > 1 else ""
    received = _times(max(letter.receives for letter in letters) - 1)
    sent = (
        iso(letters[0].first_sent)
        if len(alike) == 1
        else f"from {iso(letters[0].first_sent)} to {iso(letters[-1].first_sent)}"
    )
    ids = [letter.message_id for letter in letters]
    more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    lines = [
        f"  {count}{first.judgement.about}",
        f"      {_WORDS[first.judgement.verdict]}: {first.judgement.why}",
        f"      first sent {sent}, received {received} before; message {', '.join(ids[:IDS_SHOWN])}{more}",
    ]
    fates = {
        "replayed": "sent back",
        "deleted": "deleted",
        "left": f"left where it is: {first.trouble}",
        "doubled": f"sent back, but still here as well: {first.trouble}",
    }
    return [*lines, f"      {fates[first.fate]}"] if first.fate else lines


def _beside(queue: Queue) -> str:
    others = f", {queue.others} others not chosen" if queue.others else ""
    unread = f", {queue.unread} more that cannot be read now (another look hides them, or more than {MOST})"
    return others + (unread if queue.unread else "")


def _advice(queues: Sequence[Queue]) -> str:
    """How many letters of each verdict, and what to do with them."""
    verdicts = [shown.judgement.verdict for queue in queues for shown in queue.shown]
    words: dict[Verdict, str] = {
        "works": "would work: --replay",
        "nothing": "would do nothing: --replay or --delete is the same",
        "fails": "would fail again: fix the named cause first",
        "unknown": "unknown: --replay tries it",
    }
    return "\n".join(f"{verdicts.count(kind)} {word}" for kind, word in words.items() if kind in verdicts)


def _sum(queues: Sequence[Queue]) -> str:
    words = {"replayed": "sent back", "deleted": "deleted", "left": "left where they are", "doubled": "in both places"}
    fates = [shown.fate for queue in queues for shown in queue.shown]
    return ", ".join(f"{fates.count(fate)} {word}" for fate, word in words.items() if fate in fates) or "nothing to do"


def document(stage: str, queues: Sequence[Queue], messages: Sequence[str]) -> str:
    """Everything as one JSON object, without bodies: a message may hold anything."""
    found: dict[str, Any] = {
        "stage": stage,
        "queues": [
            {
                "queue": queue.name,
                "function": _FUNCTIONS[queue.name],
                "others": queue.others,
                "unread": queue.unread,
                "letters": [
                    {
                        "message_id": shown.letter.message_id,
                        "first_sent": iso(shown.letter.first_sent),
                        "received_before": shown.letter.receives - 1,
                        "about": shown.judgement.about,
                        "replay": shown.judgement.verdict,
                        "why": shown.judgement.why,
                        **({"fate": shown.fate, "trouble": shown.trouble} if shown.fate else {}),
                    }
                    for shown in queue.shown
                ],
            }
            for queue in queues
        ],
        "not_found": missing(queues, messages),
    }
    return msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=2).decode()


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def run(options: argparse.Namespace) -> Answer:
    """The command: its output and its exit status."""
    services = wiring.services()
    place = settings.of_stage(services.settings, options.stage) if options.stage else services.settings
    action: Action = "replay" if options.replay else "delete" if options.delete else "show"
    queues = redrive(services, wiring.dead_letters(place), options.queues, options.messages, action)
    if options.json:
        output = document(place.stage, queues, options.messages)
    else:
        output = text(place.stage, place.table, queues, options.messages, action)
    return Answer(output, 0 if all_well(queues, options.messages) else 1)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`plumbline redrive` and its arguments."""
    parser = add_command(
        commands,
        "redrive",
        "show dead letters, explain them, send them back",
        "Without --replay or --delete it only shows what each is about and what a replay would lead to.",
        "redrive windows --replay",
        one="some of the letters were not dealt with; AWS did not answer",
    )
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help="such as windows or captures; default: all")
    parser.add_argument(
        "--stage",
        default="",
        metavar="NAME",
        help="another stage's queues; table and bucket stay the environment's; default: PLUMBLINE_STAGE, else dev",
    )
    parser.add_argument(
        "--message", dest="messages", action="append", default=[], metavar="ID", help="only this; repeat it"
    )
    acts = parser.add_mutually_exclusive_group()
    acts.add_argument("--replay", action="store_true", help="send each letter back to its queue, then delete it here")
    acts.add_argument("--delete", action="store_true", help="delete the letters named by --message for good")
    parser.add_argument("--json", action="store_true", help="the answer as one JSON object")
    parser.set_defaults(run=run)
