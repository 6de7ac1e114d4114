"""How each monitor stands after its newest decided window, in one partition: a thousand monitors are one query.

Key: STANDINGS / {monitor} -> Standing. Written by window_due after what it tells people; no decision reads it. Names of
columns are in it, values of data are not.
"""

from __future__ import annotations

import msgspec

from chalicelib.evidence.assessment import Level
from chalicelib.facts.document import change, load_all
from chalicelib.ports import Ledger

PARTITION = "STANDINGS"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """`level` and `headline`: what the evidence about the window comes to; `broken`: why its data is broken ("": it is
    not). `action`: what was decided. `loss` and `coverage` are those of the newest settled window. `incidents`: the
    kinds that are open. `hours`: a window's length."""

    monitor: str
    endpoint: str
    window: str
    hours: int
    level: Level
    headline: str
    broken: str = ""
    action: str = ""
    loss: float | None = None
    coverage: float = 0.0
    incidents: tuple[str, ...] = ()


def save(ledger: Ledger, standing: Standing) -> None:
    """Keep how a monitor stands. A newer window's word on itself stays; labels of an older one tell the newest loss."""

    def think(stored: Standing | None) -> Standing:
        if stored is None or stored.window <= standing.window:
            return standing
        return msgspec.structs.replace(
            stored, loss=standing.loss, coverage=standing.coverage, incidents=standing.incidents
        )

    change(ledger, PARTITION, standing.monitor, Standing, think)


def all_standings(ledger: Ledger) -> list[Standing]:
    """Of every monitor that decided a window, by name; removed ones too."""
    return load_all(ledger, PARTITION, Standing)
