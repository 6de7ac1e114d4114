"""How golden.json was made: `python -m tests.unit.evidence.golden` writes it again (scipy 1.17, numpy 2.4).

Hypergeometric tails are scipy.stats.hypergeom's. The other tools' distances are computed on raw rows by numpy and scipy
functions (histogram, histogram_bin_edges with bins "sturges" and "doane", scipy.stats.wasserstein_distance,
scipy.spatial.distance.jensenshannon), as the tools' documents and sources define them; the tools themselves were not
run. The package computes the same from counts per distinct value, with its own code.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

PATH = Path(__file__).with_name("golden.json")


def tails() -> list[list[Any]]:
    """yes, rows, baseline's yes and rows, P(X >= yes), P(X <= yes)."""
    draw = np.random.default_rng(11)
    found = []
    while len(found) < 400:
        n, m = (int(10 ** draw.uniform(0, 5.3)) for _ in range(2))
        share = 10 ** draw.uniform(-4, 0)
        k0 = int(draw.binomial(m, share if draw.random() < 0.5 else 1 - share))
        deviation = np.sqrt(max(k0 / m * (1 - k0 / m), 1 / m) * n * (1 + n / m))
        k = int(np.clip(round(n * k0 / m + draw.uniform(-38, 38) * deviation), 0, n))
        law = stats.hypergeom(n + m, k + k0, n)
        upper, lower = float(law.sf(k - 1)), float(law.cdf(k))
        if min(upper, lower) > 1e-300:
            found.append([k, n, k0, m, upper, lower])
    return found


def rows(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A baseline and a window of numbers."""
    draw = np.random.default_rng([12, len(name)])
    if name == "normal":
        return draw.normal(size=700).round(2), draw.normal(0.4, 1.2, 300).round(2)
    if name == "skewed":
        return draw.exponential(size=900).round(2), (3 * draw.exponential(size=250)).round(2)
    return draw.integers(0, 12, 600).astype(float), draw.integers(3, 15, 200).astype(float)


def words(name: str) -> tuple[list[str], list[str]]:
    draw = np.random.default_rng([13, len(name)])
    one, other = draw.choice(list("abcd"), 500, p=[0.5, 0.3, 0.15, 0.05]), draw.choice(list("abe"), 200)
    return one.tolist(), other.tolist()


def filled(shares: np.ndarray) -> np.ndarray:
    least = shares[shares > 0].min()
    return np.where(shares > 0, shares, least / 1e6 if least <= 0.0001 else 0.0001)


def stability(one: np.ndarray, other: np.ndarray) -> float:
    one, other = filled(one), filled(other)
    return float(np.sum((one - other) * np.log(one / other)))


def of_numbers(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    distance = float(stats.ks_2samp(one, other).statistic)
    if len(np.unique(one)) > 20:
        edges = np.histogram_bin_edges(np.concatenate([one, other]), bins="sturges")
        shares = [np.histogram(some, edges)[0] / len(some) for some in (one, other)]
    else:
        values = np.union1d(one, other)
        shares = [np.array([(some == value).mean() for value in values]) for some in (one, other)]
    if len(np.unique(one)) > 50 or len(np.unique(one)) / len(one) > 0.1:
        edges = np.histogram_bin_edges(one, bins="doane")
        nanny = [np.histogram(some, edges)[0] / len(some) for some in (one, other)]
    else:
        nanny = [np.array([(some == value).mean() for value in np.unique(one)]) for some in (one, other)]
    left = 1 - nanny[1].sum()
    if left > 0:
        nanny = [np.append(nanny[0], 0), np.append(nanny[1], left)]
    return {
        "distance": distance,
        "robust": max(0.0, distance - 1.8 * np.sqrt((len(one) + len(other)) / (len(one) * len(other)))),
        "wasserstein": float(stats.wasserstein_distance(one, other) / max(np.std(one), 0.001)),
        "js_natural": float(jensenshannon(*shares)),
        "js_base_2": float(jensenshannon(*nanny, base=2)),
        "psi": stability(*shares),
    }


def of_words(one: list[str], other: list[str]) -> dict[str, float]:
    names = sorted({*one, *other})
    shares = [np.array([Counter(some)[name] / len(some) for name in names]) for some in (one, other)]
    seen = [np.array([Counter(some)[name] / len(some) for name in sorted(set(one))]) for some in (one, other)]
    nanny = np.append(seen[0], 0), np.append(seen[1], 1 - seen[1].sum())
    distance = float(np.abs(shares[0] - shares[1]).max())
    return {
        "distance": distance,
        "robust": max(0.0, distance - 1.8 * np.sqrt((len(one) + len(other)) / (len(one) * len(other)))),
        "js_natural": float(jensenshannon(*shares)),
        "js_base_2": float(jensenshannon(*nanny, base=2)),
        "psi": stability(*shares),
    }


def golden() -> dict[str, Any]:
    numbers = {name: of_numbers(*rows(name)) for name in ("normal", "skewed", "whole")}
    return {"tails": tails(), "numbers": numbers, "words": of_words(*words("words"))}


if __name__ == "__main__":
    PATH.write_text(json.dumps(golden(), indent=0) + "\n", encoding="utf-8")
