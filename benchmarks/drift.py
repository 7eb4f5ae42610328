"""Replay held-out patients as a stream, with and without changes, and measure what the drift detector says.

python benchmarks/drift.py --data data/chest_xray --weights FILE [--replays N] [--work DIR] [--out FILE]
python benchmarks/drift.py --small --out FILE  # phantoms and a small network: shows that it runs, no figure

One model is trained by the pipeline's own steps, with more patients held out than usual, and exported. Every held-out
image goes once through the served graph, as it is and in each changed form (`benchmarks/drift_images.py`). A replay
(`benchmarks/drift_replay.py`) then draws anew, by patient, who is the reference and who comes in the stream. Nothing
was chosen by the official test folder, and none of its images is computed here.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

for _library in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_library, "1")  # one core a replay; before numpy is loaded

import numpy as np
from scipy.stats import beta, chi2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.drift_images import ORIGINAL, compute_all
from benchmarks.drift_replay import KINDS, LOOKED, Plan, Replay, load_forms, load_model, replay, save_forms
from benchmarks.processor import processor, versions
from pneumonia.monitoring.detector import Detector
from pneumonia.monitoring.judge import judge
from pneumonia.monitoring.settings import DriftSettings

RESULT = ROOT / "benchmarks" / "results" / "drift.json"
SEED = 20_000
"""Of the first replay. Those below were looked at while the detector was made."""
AIMS = {"strong": 250, "weak": 1000, "named": 0.9, "seconds": 5.0}
HELD_OUT = ("data.validation_fraction=0.4", "data.gate_fraction=0.4")
REAL = (
    "preprocess.size=128", "train.progressive_start_size=64", "train.epochs=12", "train.warmup_epochs=0.5",
    "train.bn_recalibration_images=512",
)  # fmt: skip
SMALL = (
    "data.root=phantom", "phantom.train=700", "phantom.test=8", "phantom.size=96", "preprocess.size=64",
    "train.progressive_start_size=64", "train.epochs=2", "model.architecture=tiny", "train.bn_recalibration_images=128",
)  # fmt: skip
SMALL_PLAN = Plan(reference=150, before=100, settings=DriftSettings(sizes=(100, 200), resamples=100))
METRICS = ("accuracy", "sensitivity", "specificity", "auroc")


def prepare(assignments: list[str], work: Path, path: Path) -> None:
    """Train and export the model, and compute all forms into a file, with a description of the model."""
    from pneumonia.config.resolve import resolve
    from pneumonia.data.manifest import Manifest
    from tasks.export_model import export_model
    from tasks.prepare_data import prepare_data
    from tasks.train_model import train_model

    config = resolve("full", assignments=[*assignments, f"work={work}"], environment={})
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    exported = export_model(dataset, trained, config)
    forms, viral = compute_all(Path(exported.folder), Manifest.load(Path(dataset.manifest)), Path(dataset.root))
    if dataset.kind != "radiographs":
        viral[:] = False  # phantoms have the published names, and one kind of opacity
    model = {
        "kind": dataset.kind,
        "data_digest": dataset.digest,
        "dvc_md5": dataset.dvc_md5,
        "counts": {split: dataset.counts[split] for split in ("train", "validation", "gate")},
        "settings": [one for one in assignments if not one.startswith(("data.root", "model.weights"))],
        "weights_digest": trained.weights_digest,
        "precision": exported.precision,
    }
    save_forms(path, forms, viral, model)


def summarise(found: list[dict[str, Any]], plan: Plan) -> dict[str, Any]:
    """Return the figures of all replays."""
    control = [one["control"] for one in found]
    images, alarms = (sum(one[name] for one in control) for name in ("images", "alarms"))
    low, high = poisson(alarms)
    loud: Counter[str] = Counter()
    for one in control:
        loud.update(one["tests"])
    names = [name for name in found[0] if name != "control"]
    return {
        "replays": len(found),
        "plan": asdict(plan),
        "control": {
            "images": images,
            "alarms": alarms,
            "replays_with_alarms": sum(one["alarms"] > 0 for one in control),
            "looks": sum(one["looks"] for one in control),
            "looks_in_alarm": sum(one["alarm_looks"] for one in control),
            "looks_in_alarm_by_test": dict(sorted(loud.items())),
            "per_10000": round(1e4 * alarms / images, 2),
            "interval": [round(1e4 * end / images, 2) for end in (low, high)],
            "estimate_errors": errors([error for one in control for error in one["errors"]]),
        },
        "changes": {name: _change(name, [one[name] for one in found]) for name in names},
    }


def _change(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    after = sorted(math.inf if one["after"] is None else one["after"] for one in found)
    kind = KINDS[name.rpartition(",")[0]]
    right = sum(one["kind"] == kind for one in found)

    def until(share: float) -> int | None:
        at = after[math.ceil(share * len(after)) - 1]
        return None if math.isinf(at) else int(at)

    return {
        "kind": kind,
        "images_median": until(0.5),
        "images_90": until(0.9),
        "never": sum(math.isinf(one) for one in after),
        "longest_stream": max(one["images"] for one in found),
        "named_rightly": right,
        "share": round(right / len(found), 3),
        "interval": clopper(right, len(found)),
        "kinds": dict(sorted(Counter(one["kind"] for one in found).items())),
        "estimate_errors": errors([error for one in found for error in one["errors"]]),
    }


def errors(found: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean absolute error, bias and the 95th percentile of the absolute error of each estimated metric."""
    result = {}
    for name in METRICS:
        values = np.array([one[name] for one in found if name in one])
        if len(values):
            size = np.abs(values)
            result[name] = {
                "mean_absolute": round(float(size.mean()), 4),
                "bias": round(float(values.mean()), 4),
                "absolute_95": round(float(np.quantile(size, 0.95)), 4),
            }
    return result


def poisson(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a Poisson mean (Garwood, Biometrika 28, 1936)."""
    low = float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    return low, float(chi2.ppf(0.975, 2 * count + 2)) / 2


def clopper(count: int, n: int) -> list[float]:
    """Return the exact 95 % interval of a share (Clopper and Pearson, Biometrika 26, 1934)."""
    low = float(beta.ppf(0.025, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, n - count)) if count < n else 1.0
    return [round(low, 3), round(high, 3)]


def speed(path: Path, plan: Plan) -> dict[str, Any]:
    """Time a look at 1,000 events, with the law of the reference and without it; medians of five, one core."""
    one = Replay(load_forms(path), plan, SEED)
    reference = one.forms.samples[ORIGINAL].take(one.reference)
    window = one.stream(None).last(max(plan.settings.sizes))
    times: dict[str, list[float]] = {"fit and judge": [], "judge, law kept": []}
    for _ in range(5):
        for name, law in (("fit and judge", None), ("judge, law kept", one.detector.law)):
            began = time.perf_counter()
            judge(Detector(reference, plan.settings, law), window, LOOKED)
            times[name].append(time.perf_counter() - began)
    return {
        "events": len(window),
        "reference": len(reference),
        "embedding": window.embeddings.shape[1],
        "seconds": {name: round(statistics.median(taken), 2) for name, taken in times.items()},
    }


def measure(path: Path, plan: Plan, replays: int, processes: int) -> dict[str, Any]:
    """Make all replays of the forms in a file, and time a look."""
    began = time.perf_counter()
    with ProcessPoolExecutor(processes) as pool:
        found = []
        for one in pool.map(partial(replay, path, plan), range(SEED, SEED + replays)):
            found.append(one)
            print(
                f"{len(found)} of {replays} replays, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True
            )
    return summarise(found, plan) | {"speed": speed(path, plan)}


def table(found: dict[str, Any]) -> str:
    """Return the Markdown table of the changes, as docs/monitoring.md shows it."""
    head = (
        "| Change | Strength | Images until the alarm, median | in 90 % of replays | aim | Kind named rightly | aim |"
    )
    rows = [head, "|---|---|---:|---:|---:|---:|---:|"]
    for name, one in found["changes"].items():
        change, _, strength = name.rpartition(", ")
        shown = [f"{'never' if one[key] is None else one[key]}" for key in ("images_median", "images_90")]
        low, high = (100 * end for end in one["interval"])
        rows.append(
            f"| {change} | {strength} | {shown[0]} | {shown[1]} | {AIMS[strength]} "
            f"| {100 * one['share']:.0f} % ({low:.0f} to {high:.0f}) | {100 * AIMS['named']:.0f} % |"
        )
    return "\n".join(rows)


def error_table(found: dict[str, Any]) -> str:
    """Return the Markdown table of the estimates' errors, as docs/monitoring.md shows it."""
    rows = ["| Windows | " + " | ".join(METRICS) + " |", "|---|" + "---:|" * len(METRICS)]
    shown = {"no change": found["control"], **found["changes"]}
    for name, one in shown.items():
        cells = [one["estimate_errors"].get(metric) for metric in METRICS]
        words = [f"{cell['mean_absolute']:.3f} ({cell['bias']:+.3f})" if cell else "" for cell in cells]
        rows.append(f"| {name} | " + " | ".join(words) + " |")
    return "\n".join(rows)


def sentences(found: dict[str, Any]) -> tuple[str, ...]:
    """Return what docs/monitoring.md says in words."""
    control, speed_ = found["control"], found["speed"]
    low, high = control["interval"]
    fit, kept = speed_["seconds"].values()
    return (
        f"In {found['replays']} replays without a change, {control['images']:,} images, there were "
        f"{control['alarms']} false alarms: {control['per_10000']:.2f} per 10,000 images (95 % interval {low:.2f} to "
        f"{high:.2f}), of a budget of {found['plan']['settings']['budget']:g}.",
        f"A look at {speed_['events']:,} events with a reference of {speed_['reference']} images and embeddings of "
        f"{speed_['embedding']} numbers takes {fit:.2f} s on one core the first time, and {kept:.2f} s from then on, "
        "because the law of the reference is kept.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/chest_xray", help="folder of the images")
    parser.add_argument("--weights", default="imagenet", help="initial weights")
    parser.add_argument("--small", action="store_true", help="phantoms and a small network")
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder of the training; a temporary one by default")
    parser.add_argument("--forms", type=Path, help="file of the computed images: written, or read where it is there")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    plan = SMALL_PLAN if given.small else Plan()
    sources = SMALL if given.small else (*REAL, f"data.root={given.data}", f"model.weights={given.weights}")
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        path = given.forms or work / "forms.npz"
        if not path.exists():
            prepare([*HELD_OUT, *sources, "tracking.system_metrics=false"], work, path)
        found = measure(path, plan, given.replays, given.processes)
        found = {"model": load_model(path), "processor": processor(), "software": versions("numpy", "scipy")} | found
    given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table(found), error_table(found), *sentences(found), sep="\n\n")
    print(json.dumps(found["control"], indent=2), json.dumps(found["speed"], indent=2))


if __name__ == "__main__":
    main()
