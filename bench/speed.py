"""`make bench`: what a window costs, as a ratio to `orjson.loads` over the same capture bytes in the same run.

The whole job: read, decode, parse, join, profile, drift, quality, deviations, constraints. Processor seconds (user and
system), peak memory of a process of its own for each case, rounds interleaved, the smallest kept. The same job by
pandas and scikit-learn on the table that is already parsed and joined stands beside it. `--guard` is for CI.
"""

from __future__ import annotations

import argparse
import collections
import cProfile
import json
import pstats
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import traffic
from bench.usage import cpu_seconds, peak_megabytes

FOLDER = Path("build/bench")
GOAL, MUST = 3.0, 3.5
# CI's machine is shared: what others do there moved the ratio of the same code from 3.6 to 4.9. A call that is made for
# each row shows in the number of calls, which is the same wherever it is counted.
GUARD, CALLS = 6.0, 1.5
MIXED_MUST, MEMORY_MUST, JOIN_MUST = 1.5, 150, 40.0
ARRIVED = datetime(2026, 1, 6, tzinfo=UTC)
END = datetime(2026, 1, 5, 11, tzinfo=UTC)
BASELINE_RECORDS = 20_000
# An endpoint with little traffic writes a file of some requests every few minutes.
SMALL_FILE = 100

# What is shown of the profiler's run: (file, function) -> stage. None of these calls another one of them.
STAGES = {
    ("joins.py", "read_labels"): "labels: read, decode, sort",
    ("batch_reader.py", "bodies_in"): "captures: read",
    ("batch_reader.py", "decoded_lines"): "captures: decode",
    ("batch_reader.py", "_columns"): "captures: columns of texts",
    ("capture_fold.py", "_fresh"): "captures: times, repeated events",
    ("cells.py", "both_hashes_of"): "captures: hashes of ids",
    ("batch_reader.py", "rows_of_texts"): "payload: fields",
    ("cells.py", "last_words"): "payload: texts of fields",
    ("cells.py", "hashes"): "profile: hashes",
    ("columns.py", "_add_odd"): "profile: odd texts",
    ("cells.py", "numbers"): "payload: numbers",
    ("moments.py", "add"): "profile: moments",
    ("quantiles.py", "add"): "profile: quantiles",
    ("label_join.py", "take"): "labels: join, tally",
    ("capture_fold.py", "_measure"): "requests that are not plain",
    ("evaluate.py", "report"): "drift, quality, deviations, constraints",
}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 when every bound is kept, 1 when one is not."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="ten million records too (6 GB of disk)")
    parser.add_argument("--guard", action="store_true", help="one ratio, and the bound of CI alone")
    parser.add_argument("--case", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        print(json.dumps(CASES[options.case[0]](Path(options.case[1]))))
        return 0
    if options.guard:
        return guard(options.records)
    return full(options.records, options.rounds, options.large)


def guard(records: int) -> int:
    folder = prepared(records)
    best = rounds([("orjson", ("orjson", folder)), ("ours", ("ours", folder))], 3)
    ratio, peak = best["ours"]["cpu"] / best["orjson"]["cpu"], best["ours"]["peak"]
    calls = run("stages", folder)["calls"] / records
    print(
        f"{records:,} records: {ratio:.2f} times orjson.loads (at most {GUARD}), {calls:.2f} calls a record (at most "
        f"{CALLS}), {peak:.0f} MB (at most {MEMORY_MUST})"
    )
    return int(ratio > GUARD or calls > CALLS or peak > MEMORY_MUST)


def full(records: int, count: int, large: bool) -> int:
    tenth, mixed, wide = prepared(records // 10), prepared(records, mixed=True), prepared(records // 5, width=100)
    small = prepared(records // 10, each=SMALL_FILE)
    plain = prepared(records)
    # What is compared most closely runs one after the other, and as often again: others on the machine come and go.
    closest = {
        "orjson.loads of the captures": ("orjson", plain),
        "whole job": ("ours", plain),
        "whole job, mixed payloads": ("ours", mixed),
    }
    others = {
        "whole job, a tenth of the records": ("ours", tenth),
        f"the same in files of {SMALL_FILE} records": ("ours", small),
        "orjson.loads, 100 features": ("orjson", wide),
        "whole job, 100 features": ("ours", wide),
        "pandas + scikit-learn on the parsed table": ("peers", plain),
    }
    best = rounds([*closest.items(), *others.items(), *closest.items()], count)
    if large:
        best.update(rounds([("whole job, ten times the records", ("ours", prepared(10 * records)))], 1))
    limit, ours = best["orjson.loads of the captures"]["cpu"], best["whole job"]
    print(f"\n{records:,} captures, smallest of {count} rounds ({2 * count} of the first three); processor seconds\n")
    print(f"{'case':44} {'CPU s':>8} {'us/record':>10} {'ratio':>7} {'peak MB':>8}")
    for name, found in best.items():
        each = 1e6 * found["cpu"] / found["records"]
        print(f"{name:44} {found['cpu']:8.2f} {each:10.2f} {each / (1e6 * limit / records):7.2f} {found['peak']:8.0f}")
    ratio = ours["cpu"] / limit
    mixed_ratio = best["whole job, mixed payloads"]["cpu"] / ours["cpu"]
    per_value = (best["whole job, 100 features"]["cpu"] / (records // 5) / 100) / (ours["cpu"] / records / 20)
    growth = 1e6 * (ours["peak"] - best["whole job, a tenth of the records"]["peak"]) / (records - records // 10)
    bounds = [
        ("whole job / orjson.loads", ratio, MUST),
        ("peak memory, MB", ours["peak"], MEMORY_MUST),
        ("mixed payloads / plain ones", mixed_ratio, MIXED_MUST),
        ("cost of a value, 100 features / 20", per_value, 1.0),
    ]
    if large:
        most = best["whole job, ten times the records"]
        growth = 1e6 * (most["peak"] - ours["peak"]) / (most["labelled"] - ours["labelled"])
        bounds.append(("bytes for each labelled row more", growth, JOIN_MUST))
    else:
        print(f"\nfrom a tenth on, {growth:.0f} bytes for each record more")
    print(f"\n{'bound':44} {'found':>8} {'at most':>8}   (goal of the ratio: {GOAL})")
    for name, value, bound in bounds:
        print(f"{name:44} {value:8.2f} {bound:8.2f}   {'kept' if value <= bound else 'NOT KEPT'}")
    print("\nwhere the time goes (under the profiler, which adds to calls)")
    for stage, seconds in run("stages", plain)["stages"].items():
        print(f"{stage:44} {1e6 * seconds / records:8.2f} us/record")
    print("\nwhole job, by part: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in ours["parts"].items()))
    return int(any(value > bound for _, value, bound in bounds))


def rounds(cases: Sequence[tuple[str, tuple[str, Path]]], count: int) -> dict[str, dict[str, Any]]:
    """Each case `count` times, one after the other in each round; the run of the fewest seconds of each."""
    best: dict[str, dict[str, Any]] = {}
    for _ in range(count):
        for name, case in cases:
            found = run(*case)
            if name not in best or found["cpu"] < best[name]["cpu"]:
                best[name] = found
    return best


def run(case: str, folder: Path) -> dict[str, Any]:
    """One case in a process of its own, which reads its files from memory: some would come from disk, others not."""
    for path in folder.rglob("*.jsonl"):
        collections.deque(traffic.pieces(path), maxlen=0)
    command = [sys.executable, "-m", "bench.speed", "--case", case, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def prepared(records: int, width: int = 20, mixed: bool = False, each: int = 0) -> Path:
    """The folder with this traffic, in files of `each` records (0: in one); written once, the same for the same
    arguments."""
    folder = FOLDER / f"{records}-{width}{'-mixed' if mixed else ''}{f'-each-{each}' if each else ''}"
    if not (folder / "done").exists():
        print(f"writing {folder}", file=sys.stderr)
        traffic.write(folder, records, width=width, mixed=mixed)
        if each:
            traffic.split(folder, each)
        traffic.write(folder / "baseline", min(records, BASELINE_RECORDS), width=width, seed=2025)
        (folder / "width").write_text(str(width))
        subprocess.run([sys.executable, "-m", "bench.speed", "--case", "baseline", str(folder)], check=True)
        (folder / "done").write_text(json.dumps({"records": records, "width": width}))
    return folder


def _facts(folder: Path) -> dict[str, int]:
    facts: dict[str, int] = json.loads((folder / "done").read_text())
    return facts


def _subject(width: int) -> Any:
    from chalicelib.evaluation.measurement import Subject
    from chalicelib.records.attributes import Attributes

    return Subject(attributes=Attributes(features=traffic.features(width), probability_attribute="0"))


def _folded(folder: Path, width: int) -> Any:
    from chalicelib.evaluation.capture_fold import CaptureFold
    from chalicelib.evaluation.label_join import LabelJoin
    from chalicelib.records.batch_reader import Source
    from chalicelib.records.joins import read_labels

    files = [folder / "labels.jsonl", *(sorted((folder / "captures").glob("*")) or [folder / "captures.jsonl"])]
    sources = [Source(path.name, lambda path=path: traffic.pieces(path), ARRIVED) for path in files]
    subject = _subject(width)
    join = LabelJoin(read_labels(sources[:1]))
    read = cpu_seconds()
    fold = CaptureFold(lambda _: subject, join.take)
    for source in sources[1:]:
        fold.read(source)
    folded, _ = fold.result()
    folded.measured += join.finish()
    return folded, subject, read


def _baseline(folder: Path) -> dict[str, Any]:
    from chalicelib.monitors import data_quality, model_quality
    from chalicelib.monitors.documents import encode_json

    width = int((folder / "width").read_text())
    folded, _, _ = _folded(folder / "baseline", width)
    profile = folded.measured.profile
    quality = model_quality.statistics(folded.measured.tally, END)
    for name, document in (
        ("statistics", data_quality.statistics(profile)),
        ("constraints", data_quality.suggest_constraints(profile)),
        ("model_constraints", model_quality.suggest_constraints(quality)),
    ):
        (folder / f"{name}.json").write_bytes(encode_json(document))
    return {}


def _ours(folder: Path) -> dict[str, Any]:
    facts = _facts(folder)
    start = cpu_seconds()
    from chalicelib.evaluation.capture_fold import CaptureFold  # noqa: F401
    from chalicelib.evaluation.evaluate import Asked, Baselines, report
    from chalicelib.monitors.baseline import read_constraints, read_model_constraints, read_statistics

    imported = cpu_seconds()
    folded, subject, read = _folded(folder, facts["width"])
    counted = cpu_seconds()
    paths = {name: folder / f"{name}.json" for name in ("statistics", "constraints", "model_constraints")}
    baselines = Baselines(
        data_quality_statistics=read_statistics(paths["statistics"].read_bytes(), "statistics"),
        data_quality_constraints=read_constraints(paths["constraints"].read_bytes(), "constraints"),
        model_quality_constraints=read_model_constraints(paths["model_constraints"].read_bytes(), "constraints"),
        source="bench",
    )
    asked = Asked(
        monitor_types=("DataQuality", "ModelQuality"),
        subject=subject,
        baselines=baselines,
        end=END,
        looked_for="captures",
        label_objects=1,
    )
    reports = report(folded.measured, asked)
    done = cpu_seconds()
    assert all(state == "EVALUATED" for state, _ in reports.states.values()), reports.states
    measured = folded.measured
    return {
        # As with the others, imports are not part of the job; they are shown beside it.
        "cpu": done - imported,
        "peak": peak_megabytes(),
        "records": facts["records"],
        "rows": measured.rows,
        "labelled": measured.labelled,
        "violations": sum(map(len, reports.violations.values())),
        "parts": {
            "import": imported - start,
            "labels": read - imported,
            "captures": counted - read,
            "reports": done - counted,
        },
    }


def _stages(folder: Path) -> dict[str, Any]:
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(_ours, folder)
    found = dict.fromkeys([*STAGES.values(), "everything else"], 0.0)
    total, calls = 0.0, 0
    for (path, _, name), (_, count, own, cumulated, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        total, calls = total + own, calls + count
        if stage := STAGES.get((Path(path).name, name)):
            found[stage] += cumulated
    found["everything else"] = total - sum(found.values())
    return {"calls": calls, "stages": {stage: seconds for stage, seconds in found.items() if seconds > 0}}


def _orjson(folder: Path) -> dict[str, Any]:
    import orjson

    start = cpu_seconds()
    with (folder / "captures.jsonl").open("rb") as file:
        for line in file:
            orjson.loads(line)
    return {"cpu": cpu_seconds() - start, "peak": peak_megabytes(), "records": _facts(folder)["records"]}


def _peers(folder: Path) -> dict[str, Any]:
    """Profile, drift and quality by pandas and scikit-learn; the table is parsed and joined before, and not counted."""
    import numpy as np
    import orjson
    import pandas as pd
    from sklearn import metrics

    truth = {}
    with (folder / "labels.jsonl").open("rb") as file:
        for line in file:
            label = orjson.loads(line)
            truth[label["eventMetadata"]["eventId"]] = int(label["groundTruthData"]["data"])
    rows, scores, labels = [], [], []
    with (folder / "captures.jsonl").open("rb") as file:
        for line in file:
            capture = orjson.loads(line)
            rows.append(capture["captureData"]["endpointInput"]["data"])
            scores.append(float(capture["captureData"]["endpointOutput"]["data"]))
            labels.append(truth.get(capture["eventMetadata"]["eventId"], -1))
    import io

    names = traffic.features(_facts(folder)["width"])
    table = pd.read_csv(io.StringIO("\n".join(rows)), names=names)
    before = table.sample(BASELINE_RECORDS, random_state=1)
    del rows, truth
    score, label = np.array(scores), np.array(labels)
    start = cpu_seconds()
    table.describe(include="all")
    table.isna().sum()
    for name in names:
        column, other = table[name].dropna(), before[name].dropna()
        if column.dtype == object or str(column.dtype) == "str":
            shares = column.value_counts(normalize=True).sub(other.value_counts(normalize=True), fill_value=0.0)
            shares.abs().max()
        else:
            column.nunique()
            np.histogram(column, bins=10)
            values, points = np.sort(column.to_numpy()), np.sort(other.to_numpy())
            every = np.concatenate([values, points])
            ranks = [np.searchsorted(each, every, side="right") / len(each) for each in (values, points)]
            float(np.abs(ranks[0] - ranks[1]).max())
    known = label >= 0
    draw = np.random.default_rng(1)

    def quality(truth: Any, found: Any) -> None:
        served = found > 0.5
        metrics.confusion_matrix(truth, served)
        metrics.roc_auc_score(truth, found)
        metrics.accuracy_score(truth, served)
        metrics.precision_recall_fscore_support(truth, served, average="binary")
        metrics.fbeta_score(truth, served, beta=0.5)
        metrics.fbeta_score(truth, served, beta=2.0)

    quality(label[known], score[known])
    metrics.roc_curve(label[known], score[known])
    metrics.precision_recall_curve(label[known], score[known])
    chosen = np.flatnonzero(known)
    for _ in range(5):
        some = draw.choice(chosen, int(0.8 * len(chosen)), replace=False)
        quality(label[some], score[some])
    return {"cpu": cpu_seconds() - start, "peak": peak_megabytes(), "records": _facts(folder)["records"]}


CASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "ours": _ours,
    "stages": _stages,
    "orjson": _orjson,
    "peers": _peers,
    "baseline": _baseline,
}

if __name__ == "__main__":
    sys.exit(main())
