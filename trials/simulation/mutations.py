"""Faults planted on purpose: each must break a law within a few hundred histories, or the laws see nothing.

Each mutation is a context manager that replaces one function of the code under test by a careless one and puts it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest import mock

import msgspec

from chalicelib.errors import ConflictError
from chalicelib.facts import champions, claims, decisions, due, evaluations, news, pauses
from chalicelib.facts.document import change, monitor_partition
from chalicelib.handlers import promotion_claimed
from chalicelib.wiring import Services
from chalicelib.workflows import label_batches, window_decision, window_inputs
from trials.simulation.history import draw_history
from trials.simulation.laws import breaches
from trials.simulation.shrink import calm_run
from trials.simulation.world import World

# A mutation that survives this many histories is not seen by the laws.
LIMIT = 500


@contextmanager
def claim_without_monotony() -> Iterator[None]:
    """Any retraining that has ended may be replaced, also by older evidence and within the cool-down."""

    def careless(ledger: Any, monitor: str, claim: Any, cool_down_windows: int) -> bool:
        current, _ = change(
            ledger,
            monitor_partition(monitor),
            "CLAIM#RETRAIN",
            claims.RetrainClaim,
            lambda stored: claim if stored is None or not stored.in_flight else None,
        )
        return bool(current and current.decision_id == claim.decision_id and current.state == "STARTING")

    with mock.patch.object(claims, "claim_retrain", careless):
        yield


@contextmanager
def due_as_a_flag() -> Iterator[None]:
    """Whoever finishes deletes what is due, also what was marked while they worked."""

    def careless(ledger: Any, monitor: str, window: str, generation: str) -> bool:
        with suppress(ConflictError):
            if stored := due.read(ledger, monitor, window):
                ledger.delete(*due._key(monitor, window), expected=stored.revision)
        return True

    with mock.patch.object(due, "finish", careless):
        yield


@contextmanager
def promotion_without_generation() -> Iterator[None]:
    """A promotion replaces whoever reigns, whichever generation it was claimed for."""
    load, crown = claims.load_promotion, champions.crown

    def load_anew(ledger: Any, monitor: str) -> Any:
        claim, champion = load(ledger, monitor), champions.load_champion(ledger, monitor)
        return msgspec.structs.replace(claim, generation=champion.generation) if claim and champion else claim

    def crown_anyway(ledger: Any, monitor: str, expected: int, *others: Any) -> Any:
        champion = champions.load_champion(ledger, monitor)
        return crown(ledger, monitor, champion.generation if champion else expected, *others)

    class Claims:
        def __getattr__(self, name: str) -> Any:
            return load_anew if name == "load_promotion" else getattr(claims, name)

    with (
        mock.patch.object(promotion_claimed, "claims", Claims()),
        mock.patch.object(champions, "crown", crown_anyway),
    ):
        yield


@contextmanager
def older_overwrites_newer() -> Iterator[None]:
    """An evaluation is stored whatever was stored since its inputs were read."""

    def careless(ledger: Any, monitor: str, evaluation: Any, expected: str | None) -> None:
        pk, sk = monitor_partition(monitor), f"EVALUATION#{evaluation.window}"
        stored = ledger.get(pk, sk)
        ledger.put(pk, sk, msgspec.json.encode(evaluation), expected=stored.revision if stored else None)

    with mock.patch.object(evaluations, "save_evaluation", careless):
        yield


@contextmanager
def listing_only() -> Iterator[None]:
    """What is stored of a window is forgotten: only what a listing finds now is counted."""
    with mock.patch.object(window_inputs._Stored, "load", lambda self, known: None):
        yield


@contextmanager
def late_labels_are_no_news() -> Iterator[None]:
    """Labels of a window that was evaluated are heard of and not noted."""
    heard = news.heard

    def careless(ledger: Any, monitor: str, window: str, labels: int) -> bool:
        return evaluations.load_evaluation(ledger, monitor, window) is None and heard(ledger, monitor, window, labels)

    with mock.patch.object(news, "heard", careless):
        yield


@contextmanager
def acknowledge_before_the_act() -> Iterator[None]:
    """Messages are deleted from their queue before their handler has run."""
    begin = World.__init__

    def careless(self: World, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self.acknowledge_first = True

    with mock.patch.object(World, "__init__", careless):
        yield


@contextmanager
def pause_not_asked_for() -> Iterator[None]:
    """No handler sees that a person holds the monitor's effects back."""
    with mock.patch.object(pauses, "in_force", lambda ledger, monitor, now: None):
        yield


@contextmanager
def lists_deleted_before_the_filter() -> Iterator[None]:
    """The id lists of a day are deleted as soon as they are read, and the filter made of them is written after that."""
    make = label_batches._made_filter

    def careless(services: Services, definition: Any, span: Any, lists: Any) -> Any:
        bucket = services.settings.bucket
        read = {key: services.objects.get(bucket, key) for _, key in lists}
        for key in read:
            services.objects.delete(bucket, key)

        class Objects:
            def __getattr__(self, name: str) -> Any:
                return getattr(services.objects, name)

            def get(self, bucket: str, key: str) -> Any:
                return read[key]

        return make(replace(services, objects=Objects()), definition, span, lists)

    with mock.patch.object(label_batches, "_made_filter", careless):
        yield


@contextmanager
def decided_means_done() -> Iterator[None]:
    """Who finds a decision written down takes it for acted on."""
    save, act = decisions.save, window_decision._act
    found: set[str] = set()

    def noting(ledger: Any, record: Any) -> Any:
        if decisions.load_record(ledger, record.decision_id):
            found.add(record.decision_id)
        else:
            found.discard(record.decision_id)
        return save(ledger, record)

    def careless(services: Services, definition: Any, window: Any, record: Any) -> None:
        if record.decision_id not in found:
            act(services, definition, window, record)

    with mock.patch.object(decisions, "save", noting), mock.patch.object(window_decision, "_act", careless):
        yield


MUTATIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "claim without monotony": claim_without_monotony,
    "due as a flag": due_as_a_flag,
    "promotion without generation": promotion_without_generation,
    "an older revision overwrites a newer one": older_overwrites_newer,
    "listing only": listing_only,
    "late labels are no news": late_labels_are_no_news,
    "acknowledge before the act": acknowledge_before_the_act,
    "a pause that nobody asks for": pause_not_asked_for,
    "decided means done": decided_means_done,
    "a day's lists deleted before its filter": lists_deleted_before_the_filter,
}


def caught_after(name: str, first: int, limit: int = LIMIT) -> tuple[str, int, str]:
    """(mutation, how many histories it took, the law that was broken); 0 histories when none was."""
    for number in range(limit):
        history = draw_history(first + number)
        calm, _ = calm_run(history)
        with MUTATIONS[name]():
            try:
                world = World(history, hostile=True).play()
                wrong = breaches(world, calm)
            except AssertionError as error:  # the code's own claim about itself
                wrong = [f"assertion: {error}"]
        if wrong:
            return name, number + 1, wrong[0]
    return name, 0, ""


def check(first: int, jobs: int, limit: int = LIMIT) -> int:
    """Print the table: after how many histories each planted fault was caught. 1 when one was not."""
    print(f"{'planted fault':44} {'caught after':>12}  law (seeds from {first} on)", flush=True)
    missed = 0
    with ProcessPoolExecutor(jobs) as pool:
        for name, count, law in pool.map(caught_after, MUTATIONS, [first] * len(MUTATIONS), [limit] * len(MUTATIONS)):
            missed += not count
            print(f"{name:44} {count or 'never':>12}  {law[:120]}", flush=True)
    return 1 if missed else 0
