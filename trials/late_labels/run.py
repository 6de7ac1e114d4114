"""The runs to compare, and the verdict on them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from chalicelib import keys
from trials.late_labels.laws import AGES, ONCE, Compared, bytes_of, late_listed, nothing_lost, restated, same
from trials.late_labels.plan import HORIZON, HOUR, Delivery, Plan
from trials.late_labels.play import Account, play, the_end
from trials.late_labels.recording import Recording


@dataclass(frozen=True)
class Ended:
    """What a run left: its bucket's objects by key, and what a function did not do."""

    stored: dict[str, bytes]
    failures: list[str]


@dataclass
class Verdict:
    """Both comparisons, and every breach of a law in words."""

    every: Compared
    final: Compared
    broken: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.broken else 0


def at_once(recording: Recording, deliveries: Sequence[Delivery]) -> Ended:
    """A run whose labels come at once when all of them are known.

    The first windows would be sealed by then, so the horizon is longer: it stands in no file that is compared. Until
    its end more windows pass, without a capture; they are left out.
    """
    found = ended(play(recording, deliveries, HORIZON + (recording.hours + 24) * HOUR))
    end = the_end(recording)
    hours = {key: hourly.hour for key in found.stored if (hourly := keys.parse_hourly(key))}
    return Ended(
        {key: body for key, body in found.stored.items() if key not in hours or hours[key] < end}, found.failures
    )


def judge(late: Ended, every: Ended, final: Ended, recording: Recording, drawn: Plan) -> Verdict:
    """Hold the laws against the three runs."""
    verdict = Verdict(
        same(late.stored, every.stored, AGES, only_untimed=True),
        same(late.stored, final.stored, ONCE, only_untimed=False),
    )
    for name, run in (("labels late", late), ("every delivery at once", every), ("final labels at once", final)):
        found = [*run.failures, *nothing_lost(run.stored, recording, drawn)]
        verdict.broken += [f"{name}: {words}" for words in found]
    verdict.broken += [f"labels late: {words}" for words in late_listed(late.stored, drawn)]
    verdict.broken += [f"labels late: {words}" for words in restated(late.stored)]
    verdict.broken += [f"late, and every delivery at once: {words}" for words in verdict.every.different]
    verdict.broken += [f"late, and the final labels at once: {words}" for words in verdict.final.different]
    return verdict


def ended(account: Account) -> Ended:
    """What an account holds now."""
    return Ended(bytes_of(account.objects.objects), account.failures)


def hush() -> None:
    """Discard the log of the functions, which goes to standard output as on Lambda."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
