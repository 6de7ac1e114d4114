"""Labels of files joined to the answers of each batch at once: nothing of a batch is kept.

Not here: how answers are read (`capture_fold`), and what labels say (`quality`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from chalicelib.evaluation.measurement import Measurement, Subject
from chalicelib.evaluation.quality import QualityFold
from chalicelib.records.answers import Answers
from chalicelib.records.cells import Places
from chalicelib.records.ground_truth import Label
from chalicelib.records.joins import NONE, Labels


class LabelJoin:
    """What is given to `CaptureFold` as `take`: joins the labels of `read_labels` to what it finds."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._fold: QualityFold | None = None

    def take(
        self,
        subject: Subject,
        answers: Answers,
        names: Callable[[Places], list[str]],
        own: Mapping[str, Label],
    ) -> None:
        """Join labels to some answers; `own` came with them, and count for ids that have no other."""
        if self._fold is None:
            self._fold = QualityFold(subject)
        codes, texts = self._labels.find(answers.ids), self._labels.texts
        if own:
            rows = np.flatnonzero(codes == NONE)
            ids = names(rows)
            texts = [*texts, *(label.data for label in own.values())]
            place = {id: len(self._labels.texts) + index for index, id in enumerate(own)}
            codes[rows] = [place.get(id, NONE) for id in ids]
        self._fold.add(answers, codes, texts, names)

    def finish(self) -> Measurement:
        """What was joined; labels are let go of, because the measurement takes their memory."""
        fold, self._fold, self._labels = self._fold, None, Labels()
        return fold.finish() if fold else Measurement()
