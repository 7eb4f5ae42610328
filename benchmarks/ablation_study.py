"""Run the ablation study of profile full's recipe: the effect of each part of it, mean and spread over seeds.

python benchmarks/ablation_study.py --data data/chest_xray --weights FILE [--variants recipe plain …]
    [--seeds 0 1 2 3 4] [--jobs 2] [--train-only] [--test] [--results DIR] [--json]

The recipe itself, a smaller form of it, and the smaller form without one of its parts, each trained once per seed; the
seed also draws the patient-grouped split. Variants are compared on validation images, whose patients are in no training
set, but which were used to choose the epoch and the threshold. `without_shortcuts`: every shortcut feature of the audit
is removed, which no variant trains on. `augmented`: the images are augmented as the recipe augments training images,
with other draws; for a variant without such augmentation this measures its robustness. With --test the models are
scored on the test folder too, each once, at the threshold in its record. A finished run is kept in the results' folder,
and a second call resumes an interrupted study.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if TYPE_CHECKING:
    from pneumonia.config.schema import AugmentConfig, Config
    from pneumonia.data.images import Images
    from pneumonia.data.manifest import Manifest
    from pneumonia.modelling.training_set import TrainingSet

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "preprocess.size=128",
    "augment.blur=1.2",
    "train.progressive_start_size=0",
    "train.epochs=5",
    "train.patience=0",
]
_NO_GEOMETRY = ["augment.scale=0", "augment.aspect=0", "augment.shift=0"]
_NO_DAMAGE = ["augment.gamma=0", "augment.blur=0", "augment.noise=0", "augment.jpeg=100"]
_DOCUMENTED = ["preprocess.equalize=false", "augment.brightness=0.1", "augment.contrast=0.1"]
VARIANTS = {
    "recipe": ("profile full: progressive resizing from 128 to 224 px, ten epochs", []),
    "small": ("the same at 128 px throughout, five epochs; the reference of the following variants", SMALL),
    "plain": (
        "flip, rotation and mild levels only: no equalisation, geometry or degradation",
        [*SMALL, *_DOCUMENTED, *_NO_GEOMETRY, *_NO_DAMAGE],
    ),
    "no-equalisation": ("no equalisation of the grey levels", [*SMALL, "preprocess.equalize=false"]),
    "no-geometry": ("no change of scale, aspect and position", [*SMALL, *_NO_GEOMETRY]),
    "no-damage": ("no gamma, blur, noise and compression", [*SMALL, *_NO_DAMAGE]),
}
AUGMENTED = 4  # augmented copies of each validation image
AUGMENT_SEED = 104_729  # of these copies; other than those of the calibration
METRICS = ("auroc", "accuracy", "sensitivity", "specificity", "ece", "brier")


def child(variant: str, seed: int, given: argparse.Namespace) -> None:
    """Train one run, find its operating point, and write its metrics."""
    from safetensors import safe_open
    from safetensors.torch import load_file
    from safetensors.torch import save as serialise

    from pneumonia.config.resolve import resolve
    from pneumonia.data import packing
    from pneumonia.data.images import Images
    from pneumonia.files import write_bytes
    from pneumonia.modelling.calibration import calibrate
    from pneumonia.modelling.training_loop import fit
    from pneumonia.modelling.training_set import TrainingSet

    settings = [f"data.root={given.data}", f"train.seed={seed}", f"data.split_seed={seed}", "train.threads=1"]
    settings += [f"model.weights={given.weights}"] if given.weights else []
    config = resolve("full", assignments=[*settings, *VARIANTS[variant][1], *given.settings], environment={})
    folder = _folder(given.results, variant, seed)
    packed = packing.pack(Path(config.data.root), config.data, config.preprocess, given.results / "work")
    manifest = packed.manifest
    data = TrainingSet.of(packed.pixels, manifest)
    weights, history, key = folder / "weights.safetensors", folder / "history.json", _key(manifest, config)
    if not weights.exists():
        fitted = fit(
            data, config, folder, key, lambda epoch: print(variant, seed, epoch.epoch, epoch.auroc, flush=True)
        )
        history.write_text(json.dumps([epoch.model_dump() for epoch in fitted.history]))
        tensors = {name: tensor.contiguous() for name, tensor in fitted.state.items()}
        write_bytes(weights, serialise(tensors, {"key": key}))
        (folder / "checkpoint.safetensors").unlink()
    if given.train_only:
        return
    with safe_open(weights, framework="pt") as file:
        if (file.metadata() or {}).get("key") != key:
            raise SystemExit(
                f"{folder}: was trained with other settings, data or weights; remove it, or use another --results"
            )
    point, state = calibrate(load_file(weights), data, config)
    found = {
        "variant": variant,
        "seed": seed,
        "minutes": sum(epoch["seconds"] for epoch in json.loads(history.read_text())) / 60,
        "point": point.model_dump(),
        **_metrics(
            state,
            point.threshold,
            data,
            manifest,
            Images.of(packed.pixels, manifest, "test") if given.test else None,
            config,
        ),
    }
    (folder / "run.json").write_text(json.dumps(found))


def _key(manifest: Manifest, config: Config) -> str:
    """Return the digest of all that a run's weights depend on."""
    from pneumonia.modelling.identity import training_code
    from pneumonia.modelling.weights import weights_origin

    parts = {
        "split": manifest.split_digest,
        "pixels": manifest.pixels_digest,
        "code": training_code(config.model.architecture),
        "start": weights_origin(config.model.weights),
        **{section: getattr(config, section).model_dump() for section in ("preprocess", "augment", "train")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _metrics(
    state: dict[str, Any],
    threshold: float,
    data: TrainingSet,
    manifest: Manifest,
    test: Images | None,
    config: Config,
) -> dict[str, Any]:
    """Score validation images unchanged, augmented, and without shortcuts; and test images, where they are given."""
    from scipy.special import expit

    from benchmarks import release
    from pneumonia.evaluation.shortcut_ablation import measure_dependence, remove_shortcuts
    from pneumonia.modelling.calibration import margins
    from pneumonia.modelling.device import Compute
    from pneumonia.modelling.network import assemble_network
    from pneumonia.modelling.scoring import predict_probabilities
    from pneumonia.modelling.weights import state_digest
    from pneumonia.statistics.metrics import Scored, compute_metrics

    network = assemble_network(state, config.model.architecture, flip_tta=config.operating_point.flip_tta)
    exact, quick = Compute.of(config.train, precision="fp32"), Compute.of(config.train)

    def metrics(images: Images, scores: NDArray[np.float64]) -> dict[str, float]:
        found = compute_metrics(
            Scored(images.labels, scores, images.patients, threshold, images.copies), config.evaluation
        )
        return {name: round(found[name].value, 4) for name in METRICS}

    held = data.validation
    drawn = margins(network, held, _changes(config), AUGMENTED, quick, seed=AUGMENT_SEED)
    bare = remove_shortcuts(held.pixels[held.rows], config.preprocess)
    dependence = measure_dependence(network, held, config.preprocess, config.evaluation, quick)
    found: dict[str, Any] = {
        "validation": metrics(held, predict_probabilities(network, held.pixels, held.rows, exact)),
        "without_shortcuts": metrics(held, predict_probabilities(network, bare, np.arange(len(held)), quick)),
        "augmented": metrics(held.take(np.tile(np.arange(len(held)), AUGMENTED)), expit(drawn.ravel())),
        "shortcut_dependence": {name: round(moved.separation.value, 4) for name, moved in dependence.items()},
    }
    if test is not None:
        release.enter(manifest, __file__, state_digest(state), f"seed {config.train.seed}")
        scores = predict_probabilities(network, test.pixels, test.rows, exact)
        found["test"] = metrics(test, scores)
        found["scores"], found["labels"] = scores.round(5).tolist(), test.labels.tolist()
    return found


def _changes(config: Config) -> AugmentConfig:
    """Return the recipe's augmentation, with the blur scaled to the size of the images."""
    from pneumonia.config.resolve import resolve

    full = resolve("full", assignments=[f"data.root={config.data.root}"], environment={})
    blur = full.augment.blur * config.preprocess.size / full.preprocess.size
    return full.augment.model_copy(update={"blur": blur})


def _folder(results: Path, variant: str, seed: int) -> Path:
    folder = results / f"{variant}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(given: argparse.Namespace) -> None:
    """Run the unfinished runs, `jobs` at a time, each on a separate core."""
    wanted = [(variant, seed) for variant in given.variants for seed in given.seeds]
    waiting = deque(run_ for run_ in wanted if not _finished(given, *run_))
    cores = sorted(os.sched_getaffinity(0))[: given.jobs]

    def work(core: int) -> None:
        while True:
            try:
                variant, seed = waiting.popleft()
            except IndexError:  # the other cores have taken the rest
                return
            command = [sys.executable, __file__, "--child", variant, str(seed), *sys.argv[1:]]
            subprocess.run(
                command,
                check=True,
                stdout=sys.stderr,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    with ThreadPoolExecutor(len(cores)) as pool:
        for done in [pool.submit(work, core) for core in cores]:
            done.result()


def _finished(given: argparse.Namespace, variant: str, seed: int) -> bool:
    folder = _folder(given.results, variant, seed)
    if given.train_only:
        return (folder / "weights.safetensors").exists()
    path = folder / "run.json"
    return path.exists() and (not given.test or "test" in json.loads(path.read_text()))


def table(results: Path) -> dict[str, Any]:
    """Return mean and standard deviation over seeds of every variant that has a finished run."""
    found: dict[str, Any] = {}
    for variant, (words, settings) in VARIANTS.items():
        runs = [json.loads(path.read_text()) for path in sorted(results.glob(f"{variant}-[0-9]*/run.json"))]
        if not runs:
            continue

        def spread(values: Sequence[float]) -> dict[str, float]:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            return {"mean": round(float(np.mean(values)), 4), "sd": round(deviation, 4)}

        row: dict[str, Any] = {"what": words, "settings": settings}
        row["minutes"] = spread([run_["minutes"] for run_ in runs])
        for part in ("point", "validation", "without_shortcuts", "augmented", "shortcut_dependence"):
            row[part] = {name: spread([run_[part][name] for run_ in runs]) for name in runs[0][part]}
        row["runs"] = [
            {name: run_[name] for name in ("seed", "without_shortcuts", "augmented", "test") if name in run_}
            for run_ in runs
        ]
        tested = [run_ for run_ in runs if "test" in run_]
        if tested:
            row["test"] = {name: spread([run_["test"][name] for run_ in tested]) for name in METRICS}
            row["averaged"] = _averaged(tested)
        found[variant] = row
    return found


def _averaged(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Compute the metrics of the models' mean probability, at the mean of their thresholds."""
    from sklearn.metrics import roc_auc_score

    labels = np.array(runs[0]["labels"])
    scores = np.mean([run_["scores"] for run_ in runs], axis=0)
    predicted = scores >= np.mean([run_["point"]["threshold"] for run_ in runs])
    return {
        "models": len(runs),
        "auroc": round(float(roc_auc_score(labels, scores)), 4),
        "accuracy": round(float((predicted == labels).mean()), 4),
        "sensitivity": round(float(predicted[labels == 1].mean()), 4),
        "specificity": round(float(1 - predicted[labels == 0].mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/chest_xray", help="folder of images")
    parser.add_argument("--weights", help="imagenet, none, or a file")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="VARIANT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="parallel runs, one core each")
    parser.add_argument("--test", action="store_true", help="score the test folder, once per model")
    parser.add_argument("--train-only", action="store_true", help="keep the weights, leave scoring to a later call")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument(
        "--results", type=Path, default=ROOT / ".pneumonia" / "ablation_study", help="where runs are kept"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        sys.path.insert(0, str(ROOT))
        child(given.child[0], int(given.child[1]), given)
        return
    run(given)
    if given.train_only:
        return
    found = table(given.results)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for variant, row in found.items():
        for part in ("without_shortcuts", "augmented", "test"):
            if part in row:
                values = (f"{name} {row[part][name]['mean']:.4f} ± {row[part][name]['sd']:.4f}" for name in METRICS)
                print(f"{variant:<16} {part:<8} {'  '.join(values)}")


if __name__ == "__main__":
    main()
