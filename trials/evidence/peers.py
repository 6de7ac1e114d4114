"""Other tools' rules at their defaults, on counts per cell: written from their definitions, with `evidence.compat`.

Rules: Model Monitor's Robust and Simple comparison at 0.1, and its suggested constraints (Robust, and a completeness
that equals the baseline's); Evidently's default of small data aside, normed Wasserstein and Jensen-Shannon at 0.1;
NannyML's Jensen-Shannon distance above the mean plus three deviations of the baseline's chunks; PSI above 0.2 over the
baseline's deciles; Kolmogorov-Smirnov and chi-squared at p < 0.05 without a correction.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from chalicelib.evidence import compat
from trials.evidence.streams import Column

PEERS = (
    "Model Monitor Robust",
    "Model Monitor Simple",
    "Model Monitor suggested",
    "Evidently",
    "NannyML",
    "PSI > 0.2",
    "KS, chi-squared p < 0.05",
)
CHUNKS = 10


def peers_of(
    draw: np.random.Generator, column: Column, baseline: np.ndarray, windows: np.ndarray
) -> dict[str, np.ndarray]:
    """Which windows each rule finds changed in this column; counts per cell, the last one of missing values."""
    numeric = not column.values[0].startswith("c")
    rules = _number_rules if numeric else _category_rules
    known, rows = baseline[:-1], int(baseline[:-1].sum())
    size = min(int(windows[0].sum()), rows // CHUNKS)
    chunks = [draw.multivariate_hypergeometric(known, size, method="marginals") for _ in range(CHUNKS)]
    of_chunks = [rules(column, known, chunk)["js2"] for chunk in chunks]
    limit = float(np.mean(of_chunks) + 3.0 * np.std(of_chunks))
    missing = baseline[-1] / baseline.sum()
    hits: dict[str, list[bool]] = {name: [] for name in PEERS}
    for window in windows:
        found = rules(column, known, window[:-1])
        robust = compat.robust(found["distance"], rows, int(window[:-1].sum())) > 0.1
        verdicts = (
            robust,
            compat.simple(found["distance"]) > 0.1,
            robust or window[-1] / window.sum() > missing,
            found["evidently"] >= 0.1,
            found["js2"] > limit,
            found["psi"] > 0.2,
            found["p"] < 0.05,
        )
        for name, verdict in zip(PEERS, verdicts, strict=True):
            hits[name].append(bool(verdict))
    return {name: np.array(found) for name, found in hits.items()}


def _number_rules(column: Column, known: np.ndarray, window: np.ndarray) -> dict[str, float]:
    values = np.array([float(value) for value in column.values])
    one, other = ((values[some > 0], some[some > 0]) for some in (known, window))
    distance = compat.distance_of_numbers(one, other)
    n, m = int(window.sum()), int(known.sum())
    tenth = np.minimum(np.searchsorted(np.cumsum(known), np.arange(1, 10) * m / 10), len(known) - 1)
    deciles = np.unique(np.append(tenth, len(known) - 1))
    shares = [np.diff(np.cumsum(some)[deciles], prepend=0) / some.sum() for some in (known, window)]
    p, q = (np.where(share > 0, share, compat.EMPTY_SHARE) for share in shares)
    return {
        "distance": distance,
        "evidently": compat.wasserstein_of_deviation(one, other),
        "js2": compat.jensen_shannon_base_2(one, other),
        "psi": float(((p - q) * np.log(p / q)).sum()),
        "p": float(stats.kstwobign.sf(distance * np.sqrt(n * m / (n + m)))),
    }


def _category_rules(column: Column, known: np.ndarray, window: np.ndarray) -> dict[str, float]:
    one, other = (dict(zip(column.values, some.tolist(), strict=True)) for some in (known, window))
    natural = compat.jensen_shannon_of_categories(one, other)
    both = np.stack([known, window])[:, (known + window) > 0]
    return {
        "distance": compat.distance_of_categories(one, other),
        "evidently": natural,
        "js2": natural / np.sqrt(np.log(2.0)),
        "psi": compat.population_stability_of_categories(one, other),
        "p": float(stats.chi2_contingency(both).pvalue),
    }
