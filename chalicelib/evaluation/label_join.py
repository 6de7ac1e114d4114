"""Labels of files joined to the answers of each batch at once: nothing of a batch is kept.

Not here: how answers are read (`capture_fold`), and what labels say (`quality`).
"""

from __future__ import annotations

import numpy as np

from chalicelib.evaluation.capture_fold import Batch
from chalicelib.evaluation.measurement import Measurement
from chalicelib.evaluation.quality import QualityFold
from chalicelib.records.joins import NONE, Labels


class LabelJoin:
    """What is given to `CaptureFold` as `take`: joins the labels of `read_labels` to what it finds."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._fold: QualityFold | None = None

    def take(self, batch: Batch) -> None:
        """Join labels to some answers; those that came with the requests count for ids that have no other."""
        if self._fold is None:
            self._fold = QualityFold(batch.subject)
        answers, own = batch.answers, batch.own
        codes, texts = self._labels.find(answers.ids), self._labels.texts
        if own:
            rows = np.flatnonzero(codes == NONE)
            place = {id: len(texts) + index for index, id in enumerate(own)}
            codes[rows] = [place.get(id, NONE) for id in batch.names(rows)]
            texts = [*texts, *(label.data for label in own.values())]
        self._fold.add(answers, codes, texts, batch.names)

    def finish(self) -> Measurement:
        """What was joined; labels are let go of, because the measurement takes their memory."""
        fold, self._fold, self._labels = self._fold, None, Labels()
        return fold.finish() if fold else Measurement()
