"""Writing a window's merged records (SageMaker's merge files). Not an event source: a part of window_due.

They need the captured lines, which are not kept: the capture files are read once more when the window settles and when
it is sealed (`merged_records` of the definition: at every restatement, or never). Where a capture file is not there any
more, merge files that were written stay as they are.
"""

from __future__ import annotations

from chalicelib import keys
from chalicelib.definition import Definition, split_s3_uri
from chalicelib.errors import ConflictError, NotFoundError, UnreadableError
from chalicelib.facts import evaluations, forgotten
from chalicelib.facts.evaluations import Evaluation
from chalicelib.ports import StoredObject
from chalicelib.records.capture import read_captures
from chalicelib.records.forgetting import Gone
from chalicelib.records.merge import MergedFiles, merge
from chalicelib.records.table import is_about
from chalicelib.records.window import Window
from chalicelib.wiring import Services
from chalicelib.workflows.window_inputs import Gathered


def labels_to_merge(
    definition: Definition, previous: Evaluation | None, settled: bool, sealed: bool, labels: str
) -> str:
    """The labels (digest, and the rule by which they count) that a window's merge files are to have now; "": there are
    to be none yet."""
    if definition.merged_records == "never" or not definition.reads_labels:
        return ""
    settles = settled and not (previous and previous.settled)
    if definition.merged_records == "always" or settles or sealed:
        return f"{definition.labels.conflict} {labels}"
    return previous.merged if previous else ""


def write_merged_records(
    services: Services,
    definition: Definition,
    window: Window,
    evaluation: Evaluation,
    gathered: Gathered,
    over: bool = False,
) -> None:
    """Write the merge files that an evaluation asks for, unless they are there; `over`: they may be damaged.

    Raises ConflictError when the window was evaluated again meanwhile: whoever writes last must have the newest labels.
    """
    name, ledger = definition.name, services.ledger
    written = evaluations.merged_labels(ledger, name, window.name)
    if not evaluation.merged or (written == evaluation.merged and not over):
        return
    files = _merged_files(services, definition, window, gathered)
    if files is None and written is None:
        files = _merged_files(services, definition, window, gathered, without_gone=True)
    if files is not None:
        bucket, output = split_s3_uri(definition.output_s3_uri)
        for hour in window.hours():
            path = keys.merge_key(output, definition.endpoint, definition.variant, name, hour)
            if hour in files:
                services.objects.put(bucket, path, files[hour], kms_key_id=gathered.kms_key_id)
            elif written is not None:
                services.objects.delete(bucket, path)
    stored = evaluations.load_evaluation(ledger, name, window.name)
    if stored is None or stored.value.digest != evaluation.digest:
        evaluations.note_merged(ledger, name, window.name, "")
        raise ConflictError(f"{name} {window.name}: evaluated again while its records were merged")
    evaluations.note_merged(ledger, name, window.name, evaluation.merged)


def _merged_files(
    services: Services, definition: Definition, window: Window, gathered: Gathered, without_gone: bool = False
) -> dict[str, bytes] | None:
    """The merge files by hour; None where a capture file is gone that was measured, unless that is to be left out."""
    bucket, _ = split_s3_uri(definition.capture_s3_uri)
    gone = Gone(forgotten.fingerprints(services.ledger, definition.name))
    merged, known = MergedFiles(), set[str]()
    for file in gathered.task.measured.files:
        if not file.requests and not file.gone:
            continue
        stored = _captures(services, bucket, file.key)
        if stored is None:
            if not without_gone:
                return None
            continue
        try:
            read = read_captures(stored.body, file.key).requests
        except UnreadableError:
            continue
        ours = []
        for one in read:
            inside = window.contains(one.inference_time) and is_about(one, definition.attributes)
            if inside and one.event_id not in known and not gone.holds(one.event_id, one.inference_id):
                known.add(one.event_id)
                ours.append(one)
        merged.add(merge(ours, gathered.task.labels.by_id([one.join_id for one in ours])).requests)
    return merged.finish()


def _captures(services: Services, bucket: str, key: str) -> StoredObject | None:
    try:
        return services.objects.get(bucket, key)
    except NotFoundError:
        return None
