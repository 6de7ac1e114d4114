"""May a window be derived anew: are all the inputs that it was evaluated on still there? Not an event source.

window_due asks before it sets aside what is stored, and `plumbline rebuild` asks before it orders that.
What is stored names its inputs; where it is lost or damaged, the evidence of the window's decision does.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib import keys
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import NotFoundError, UnreadableError
from chalicelib.evaluation.stored_window import Inputs, KeptLabels, Measured, lost_inputs
from chalicelib.facts import champions, decisions
from chalicelib.facts.evaluations import Evaluation
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.label_containers import kept, named_sources
from chalicelib.workflows.window_inputs import baselines, withdrawn_objects


class Standing(msgspec.Struct, frozen=True):
    """What a window was evaluated on and what is left of it.

    `source` says who names the inputs, `lost` which are not there any more, `reason` (if any) why the window cannot be
    derived anew at all. Not `evaluated`: it never was, so there is nothing that could be missing.
    """

    inputs: Inputs
    source: str
    lost: tuple[str, ...] = ()
    reason: str = ""
    evaluated: bool = True

    @property
    def whole(self) -> bool:
        return not self.lost and not self.reason


def standing(services: Services, definition: Definition, window: Window, evaluation: Evaluation | None) -> Standing:
    """Find the names of a window's inputs and look whether each is there, as it was. Reads only."""
    named, source = _named(services, definition, window, evaluation)
    if named is None and evaluation is not None:
        return Standing(Inputs(), source, reason=f"{source}: nothing tells which inputs must be there")
    inputs, evaluated = named or Inputs(), named is not None
    out = withdrawn_objects(services, definition)
    inputs = Inputs(inputs.captures, tuple(each for each in inputs.labels if each[0] not in out))
    lost = tuple(lost_inputs(inputs, _present(services, definition, window, inputs)))
    try:
        baselines(services, definition, champions.load_champion(services.ledger, definition.name), window)
    except (NotFoundError, UnreadableError) as error:
        return Standing(inputs, source, lost, f"its baseline cannot be read ({error})", evaluated)
    return Standing(inputs, source, lost, evaluated=evaluated)


def stored_inputs(services: Services, definition: Definition, window: Window, evaluation: Evaluation) -> Inputs:
    """The inputs that the stored window names. Raises NotFoundError or UnreadableError."""
    bucket, name = services.settings.bucket, definition.name
    measured, labels = (
        services.objects.get(bucket, key)
        for key in (
            keys.measured_key(name, window, evaluation.measured),
            keys.labels_key(name, window, evaluation.labels),
        )
    )
    captures = Measured.from_bytes(measured.body, "measured").manifest
    return Inputs(captures, KeptLabels.from_bytes(labels.body, "labels").sources)


def _named(
    services: Services, definition: Definition, window: Window, evaluation: Evaluation | None
) -> tuple[Inputs | None, str]:
    trouble = "there is no evaluation"
    if evaluation is not None:
        try:
            return stored_inputs(services, definition, window, evaluation), "what is stored of the window"
        except NotFoundError:
            trouble = "what is stored of the window is lost"
        except UnreadableError as error:
            trouble = f"what is stored of the window cannot be read ({error.reason})"
    found = [
        record
        for reference in decisions.references(services.ledger, definition.name, window.name)
        if evaluation is None or reference.evaluation_digest == evaluation.digest
        if (record := decisions.load_record(services.ledger, reference.decision_id))
    ]
    if found:
        newest = max(found, key=lambda record: (record.made_at, record.decision_id))
        said = f"decision {newest.decision_id[:12]}"
        try:
            return _evidence(services, definition, newest), f"{said}; {trouble}"
        except NotFoundError:
            trouble += f", and so is the document of {said}"
    return None, trouble


def _evidence(services: Services, definition: Definition, record: decisions.Record) -> Inputs:
    """The captures and label objects among a decision's evidence, which names our own files too."""
    bucket, destination = split_s3_uri(definition.capture_s3_uri)
    captures_place = keys.s3_uri(
        bucket, keys.capture_prefix(destination, definition.endpoint, definition.variant) + "/"
    )
    own = keys.s3_uri(services.settings.bucket, "plumbline/")
    captures: dict[str, str] = {}
    labels: list[tuple[str, str]] = []
    for each in _all_evidence(services, definition, record):
        if each.source.startswith(captures_place):
            captures[split_s3_uri(each.source)[1]] = each.digest
        elif not each.source.startswith(own):
            labels.append((each.source, each.digest))
    return Inputs(captures, tuple(sorted(labels)))


def _all_evidence(services: Services, definition: Definition, record: decisions.Record) -> Sequence[decisions.Evidence]:
    if record.evidence_count <= len(record.evidence):
        return record.evidence
    key = keys.decision_key(definition.name, record.decision_id)
    body = services.objects.get(services.settings.bucket, key).body
    return msgspec.json.decode(body, type=decisions.Record).evidence


def _present(services: Services, definition: Definition, window: Window, named: Inputs) -> Inputs:
    """What lies now in the folders in which named inputs lay, and those of the label objects that containers hold."""
    bucket, destination = split_s3_uri(definition.capture_s3_uri)
    prefix = keys.capture_prefix(destination, definition.endpoint, definition.variant)
    captures = {
        each.key: each.etag for hour in window.hours() for each in services.objects.list(bucket, f"{prefix}/{hour}/")
    }
    labels = []
    for folder in sorted({uri.rpartition("/")[0] for uri, _ in named.labels}):
        bucket, prefix = split_s3_uri(folder)
        labels += [(keys.s3_uri(bucket, each.key), each.etag) for each in services.objects.list(bucket, f"{prefix}/")]
    elsewhere = named_sources({*named.labels} - {*labels})
    labels += [(keys.s3_uri(bucket, key), etag) for bucket, key, etag in kept(services, definition, elsewhere)]
    return Inputs(captures, tuple(labels))
