"""Compare profile `fast` with and without progressive resizing, on gate images as they are and without shortcuts.

python benchmarks/demo_recipe.py --weights FILE [--data DIR] [--seeds N]

The gate set is of patients that neither training nor validation knows. The test folder is not looked at. It is
a choice between two forms of a demo, not an estimate of a model's quality. Not a medical device.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np
from processor import processor, versions
from sharding import difference
from sklearn.metrics import roc_auc_score

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from pneumonia.data import packing
from pneumonia.data.manifest import Manifest
from pneumonia.evaluation.shortcut_ablation import remove_shortcuts
from pneumonia.modelling.device import Compute
from pneumonia.modelling.network import assemble_network
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.modelling.training_loop import fit
from pneumonia.modelling.training_set import TrainingSet
from tasks.prepare_data import prepare_data

RESULTS = ROOT / "benchmarks" / "results" / "demo_recipe.json"
START = 128
METRICS = ("gate", "gate without shortcuts", "processor_seconds")


def measure(config: Config, data: TrainingSet, views: dict[str, Any], labels: Any) -> dict[str, float]:
    """Train, and return the AUROC on each view of the gate images, and the seconds of the processor."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(data, config, Path(folder), "benchmark")
    seconds = time.process_time() - began
    network, compute = assemble_network(fitted.state, "resnet18", flip_tta=False), Compute.of(config.train)
    scores = {
        name: predict_probabilities(network, pixels, np.arange(len(pixels)), compute) for name, pixels in views.items()
    }
    found = {name: round(float(roc_auc_score(labels, each)), 4) for name, each in scores.items()}
    return found | {"processor_seconds": round(seconds, 1)}


def summarise(rows: dict[int, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Return each metric of both forms over the seeds, and the difference that progressive resizing makes."""
    summary = []
    for name in METRICS:
        plain, resized = ([row[name] for row in rows[start]] for start in (0, START))
        summary.append(
            {
                "metric": name,
                **{
                    f"{word}_{key}": round(value, 4)
                    for word, values in (("full_size", plain), ("progressive", resized))
                    for key, value in (("mean", mean(values)), ("sd", stdev(values)))
                },
                "difference": difference(resized, plain),
            }
        )
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "chest_xray")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5, help="two or more, for the interval")
    given = parser.parse_args()
    rows: dict[int, list[dict[str, float]]] = {0: [], START: []}
    with tempfile.TemporaryDirectory() as folder:
        names = [f"work={folder}", f"data.root={given.data.resolve()}", f"model.weights={given.weights.resolve()}"]
        names.append("train.threads=1")
        config = resolve("fast", assignments=names, environment={})
        dataset = prepare_data(config)
        manifest, pixels = Manifest.load(Path(dataset.manifest)), packing.open_pixels(Path(dataset.pixels))
        gate = manifest.indices("gate")
        images = np.asarray(pixels[gate])
        views = {"gate": images, "gate without shortcuts": remove_shortcuts(images, config.preprocess)}
        for seed in range(given.seeds):
            for start in sorted(rows, reverse=bool(seed % 2)):
                chosen = [*names, f"train.seed={seed}", f"train.progressive_start_size={start}"]
                settings = resolve("fast", assignments=chosen, environment={})
                rows[start].append(measure(settings, TrainingSet.of(pixels, manifest), views, manifest.labels[gate]))
                print(f"seed {seed}, from {start or 'full size'}: {rows[start][-1]}", file=sys.stderr, flush=True)
    result = {
        **processor(), "versions": versions("torch"), "gate_images": len(gate), "seeds": given.seeds,
        "precision": Compute.of(config.train).precision,
        "bn_recalibration_images": config.train.bn_recalibration_images,
        "summary": summarise(rows), "full_size": rows[0], "progressive": rows[START],
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
