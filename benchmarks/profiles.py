"""Run a profile without a cache and report the time of each step, the memory, and the metrics on the test images.

python benchmarks/profiles.py --profile fast --data data/chest_xray [--weights FILE] [--json]

The work folder is empty, so that the images are decoded. The steps are the pipeline's own, in one process without an
orchestrator, and the time starts after the imports of that process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from processor import processor

BOUND_SECONDS = {"fast": 60.0, "full": 1800.0}
BOUND_BYTES = 3e9


def child(profile: str, assignments: list[str], work: str) -> dict[str, Any]:
    """Run the pipeline's steps and return their times, in seconds, and their results."""
    import torch

    from benchmarks import release
    from pneumonia.config.resolve import resolve
    from pneumonia.data.manifest import Manifest
    from pneumonia.progress import TOOK
    from tasks.build_dossier import build_dossier
    from tasks.export_model import export_model
    from tasks.prepare_data import prepare_data
    from tasks.promote_model import promote_model
    from tasks.train_model import train_model
    from tasks.validate_model import validate_model

    config = resolve(profile, assignments=[*assignments, f"work={work}"], environment={})
    marks, spent, where = [time.perf_counter()], [time.process_time()], [""]

    def mark(result: Any) -> Any:
        marks.append(time.perf_counter())
        spent.append(time.process_time())
        where.append("")
        return result

    def progress(_done: float, _total: float, message: str = "") -> None:
        where[-1] = message if message.startswith(TOOK) else where[-1]

    dataset = mark(prepare_data(config, progress))
    trained = mark(train_model(dataset, config, progress))
    manifest = Manifest.load(Path(dataset.manifest))
    # the work folder's own store, in which the step enters its opening, is deleted at the end
    release.enter(manifest, __file__, trained.weights_digest, config.registry.name, demo=config.gate.demo)
    marks[-1], spent[-1] = time.perf_counter(), time.process_time()
    exported = mark(export_model(dataset, trained, config, progress))
    validation = mark(validate_model(dataset, trained, exported, config, progress))
    built = mark(build_dossier(dataset, trained, exported, validation, config, progress))
    promotion = mark(promote_model(trained, exported, validation, built, config, progress))
    names = ("prepare_data", "train_model", "export_model", "validate_model", "build_dossier", "promote_model")
    return {
        "profile": profile,
        "seconds": dict(zip(names, (round(b - a, 1) for a, b in pairwise(marks)), strict=True)),
        "processor_seconds": dict(zip(names, (round(b - a, 1) for a, b in pairwise(spent)), strict=True)),
        "where": dict(zip(names, where, strict=False)),
        "total_seconds": round(marks[-1] - marks[0], 1),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "seed": config.train.seed,
        "counts": dataset.counts,
        "dvc_md5": dataset.dvc_md5,
        "data_digest": dataset.digest,
        "weights_digest": trained.weights_digest,
        "epochs": len(trained.epochs),
        "best_epoch": trained.best_epoch,
        "best_epoch_val_accuracy": round(trained.best_epoch_val_accuracy, 4),
        "promoted": promotion.promoted,
        "passed": validation.verdict.passed,
        "measured_on": validation.verdict.measured_on,
        "gate_set": {
            view: {name: round(found[name].value, 4) for name in ("auroc", "sensitivity", "specificity")}
            for view, found in validation.verdict.gate_metrics.items()
        },
        "metrics": {
            name: {end: round(value, 4) for end, value in metric.model_dump().items()}
            for name, metric in validation.verdict.metrics.items()
        },
        # only the name of the weights file: its folder depends on the machine
        "config": config.model_dump(mode="json", exclude={"work", "tracking"})
        | {"model": config.model.model_dump() | {"weights": Path(config.model.weights).name}},
    }


def measure(profile: str, assignments: list[str]) -> dict[str, Any]:
    """Run a profile in a separate process and work folder."""
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, __file__, "--child", work, "--profile", profile]
        command += [word for assignment in assignments for word in ("--set", assignment)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = {**json.loads(done.stdout.splitlines()[-1]), **processor(), "load_before": load}
    # relative to the bound: at most 1 is within it
    bound = BOUND_SECONDS.get(profile)
    found["ratio"] = round(found["total_seconds"] / bound, 3) if bound else round(found["peak_bytes"] / BOUND_BYTES, 3)
    found["memory_ratio"] = round(found["peak_bytes"] / BOUND_BYTES, 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=("fast", "full"), default="fast")
    parser.add_argument("--data", default="phantom", help="folder of images, or phantom")
    parser.add_argument("--weights", help="imagenet, none, or a file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--child", metavar="WORK", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.profile, given.settings, given.child)))
        return
    named = [f"data.root={given.data}", *([f"model.weights={given.weights}"] if given.weights else [])]
    found = measure(given.profile, [*named, *given.settings])
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{given.profile}: {found['total_seconds']} s {found['seconds']}, {found['peak_bytes'] / 1e9:.2f} GB at most")
    for name, metric in found["metrics"].items():
        print(f"  {name:<18} {metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})")


if __name__ == "__main__":
    main()
