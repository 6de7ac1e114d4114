"""A settled window's row sample teaches a surrogate of a fresh model, and all surrogates are tried on it. Not an event
source: window_due's last third.

Kept per monitor: a sample and a surrogate for each settled window (payload), the losses (table). Not here: when a
retraining pays (decisions/retrain.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chalicelib import keys
from chalicelib.decisions.retrain import SurrogateLosses
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import NotFoundError, UnreadableError
from chalicelib.evidence.surrogate import Sample, Surrogate, train
from chalicelib.facts import surrogates
from chalicelib.facts.champions import Champion
from chalicelib.facts.surrogates import WindowLosses
from chalicelib.monitors.baseline import read_model_constraints
from chalicelib.records.merge import MergedRequest
from chalicelib.records.table import to_table
from chalicelib.records.window import Window
from chalicelib.states.row_sample import RowSample, row_sample_of
from chalicelib.wiring import Services

# Surrogates that are tried on each window: of so many settled windows back.
KEPT = 64


def loss_unit(services: Services, definition: Definition) -> float | None:
    """What losses are divided by before the policy sees them: 1 for shares of wrong answers, for a regression the mean
    absolute error of the definition's baseline. None where the baseline has none."""
    if definition.attributes.problem_type != "Regression":
        return 1.0
    uri = definition.baseline.model_quality_constraints
    if not uri:
        return None
    try:
        document = read_model_constraints(services.objects.get(*split_s3_uri(uri)).body, uri)
        found = float(document["regression_constraints"]["mae"]["threshold"])
    except (NotFoundError, UnreadableError, KeyError, TypeError, ValueError):
        return None
    return found if math.isfinite(found) and found > 0 else None


def learn(
    services: Services,
    definition: Definition,
    window: Window,
    sample: Sequence[MergedRequest],
    digest: str,
    champion: Champion,
    kms_key_id: str | None,
) -> None:
    """Train the surrogate of what is known up to this settled window, and try every surrogate on it.

    `digest` identifies the sample; what was done for it is not done again.
    """
    monitor, bucket, ledger = definition.name, services.settings.bucket, services.ledger
    known = surrogates.load_losses(ledger, monitor, window.name)
    if known and known.sample == digest:
        return
    labels = {one.request.join_id: one.label for one in sample}
    rows = row_sample_of(
        to_table([one.request for one in sample], labels, definition.attributes), definition.policy.sample_rows
    )
    own = _sample(rows)
    if not own.features.size or not own.labels.size:
        return
    services.objects.put(
        bucket,
        keys.surrogate_key(monitor, window.name, "sample"),
        rows.to_bytes(),
        content_type="application/msgpack",
        kms_key_id=kms_key_id,
    )
    cut = window.next().name
    surrogate = _trained(services, definition, window, own, rows.features, kms_key_id)
    if surrogate:
        always = frozenset(each.fair_from for each in (champion.candidate, *champion.pool))
        surrogates.keep(ledger, monitor, cut, KEPT, always)
        # Windows that settled before this one did.
        for later in surrogates.losses(ledger, monitor, cut):
            other = _stored_sample(services, monitor, later.window)
            if other and other.features == rows.features:
                found = {cut: surrogate.loss(_sample(other), _threshold(definition))}
                surrogates.save_losses(ledger, monitor, WindowLosses(later.window, later.sample, found))
    losses = {}
    for earlier in surrogates.trained(ledger, monitor).cuts:
        if earlier <= window.name and (one := _stored_surrogate(services, monitor, earlier)):
            losses[earlier] = one.loss(own, _threshold(definition))
    surrogates.save_losses(ledger, monitor, WindowLosses(window.name, digest, losses))


def history(
    services: Services, definition: Definition, window: Window, champion: Champion, since: str, unit: float
) -> list[SurrogateLosses]:
    """What the surrogates lost on settled windows from `since` up to this one, in multiples of `unit`.

    Where no surrogate is as old as what was served (the first champion, one that has left the pool), the oldest one
    stands in for it.
    """
    back = Window.of(window.start - definition.window_length * KEPT, definition.window_length)
    found = []
    for each in surrogates.losses(services.ledger, definition.name, max(since, back.name), window.next().name):
        served = champion.find(champion.reign_at(each.window).candidate)
        cut = served.fair_from if served and served.fair_from in each.losses else min(each.losses, default="")
        if cut:
            fresh = {name: loss / unit for name, loss in each.losses.items()}
            found.append(SurrogateLosses(each.window, each.losses[cut] / unit, fresh))
    return found


def _trained(
    services: Services,
    definition: Definition,
    window: Window,
    own: Sample,
    features: tuple[str, ...],
    kms_key_id: str | None,
) -> Surrogate | None:
    """The surrogate of the last windows up to this one, made once; None of fewer than are held back of a challenger."""
    monitor, policy, cut = definition.name, definition.policy, window.next().name
    if stored := _stored_surrogate(services, monitor, cut):
        return stored
    first = Window.of(window.start - definition.window_length * (policy.training_windows - 1), definition.window_length)
    samples = []
    for each in surrogates.losses(services.ledger, monitor, first.name, window.name):
        other = _stored_sample(services, monitor, each.window)
        if other and other.features == features:
            samples.append(_sample(other))
    if len(samples) + 1 < policy.holdback_windows:
        return None
    surrogate = train([*samples, own], definition.attributes.problem_type)
    services.objects.put_if_absent(
        services.settings.bucket,
        keys.surrogate_key(monitor, cut, "surrogate"),
        surrogate.to_bytes(),
        content_type="application/msgpack",
        kms_key_id=kms_key_id,
    )
    return surrogate


def _sample(rows: RowSample) -> Sample:
    labels = rows.answers[:, 2]
    known = ~np.isnan(labels)
    return Sample(rows.values[known], labels[known])


def _threshold(definition: Definition) -> float:
    """Of probabilities; scores that are margins, or a class alone, have the middle."""
    attributes = definition.attributes
    return attributes.probability_threshold or 0.5 if attributes.inference_attribute is None else 0.5


def _stored_sample(services: Services, monitor: str, window: str) -> RowSample | None:
    try:
        body = services.objects.get(services.settings.bucket, keys.surrogate_key(monitor, window, "sample")).body
        return RowSample.from_bytes(body)
    except (NotFoundError, UnreadableError):  # expired, or of an older version
        return None


def _stored_surrogate(services: Services, monitor: str, cut: str) -> Surrogate | None:
    try:
        body = services.objects.get(services.settings.bucket, keys.surrogate_key(monitor, cut, "surrogate")).body
        return Surrogate.from_bytes(body)
    except (NotFoundError, UnreadableError):
        return None
