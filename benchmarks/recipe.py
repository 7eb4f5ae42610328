"""The table of pieces: what each part of the recipe gives, mean and spread over seeds.

python benchmarks/recipe.py --data data/chest_xray --weights FILE [--pieces recipe plain …] [--seeds 0 1 2 3 4]
                            [--jobs 2] [--train-only] [--test] [--results DIR] [--json]

The recipe itself, a smaller form of it, and the smaller form with one part taken away, each trained once a seed; the
seed also draws the patient-grouped split. Pieces are compared on validation films, of patients that no training saw;
these films did choose the epoch and the threshold. `stripped`: every cue of the shortcut audit is taken out, which no
piece trains on. `judged`: the films are changed at random as the recipe changes training films, other draws; what this
says of a piece that was not trained on such changes is its resistance to them.
With --test the models are scored on the test folder too, each once, at the threshold that is stored in its record. A
finished cell is kept in the results' folder, and a second call goes on where the first was stopped.
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

if TYPE_CHECKING:
    from pneumonia.config.schema import Config
    from pneumonia.data.manifest import Manifest
    from pneumonia.modelling.training_set import TrainingSet

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["preprocess.size=128", "augment.blur=1.2", "train.start_size=0", "train.epochs=5", "train.patience=0"]
_NO_GEOMETRY = ["augment.scale=0", "augment.aspect=0", "augment.shift=0"]
_NO_DAMAGE = ["augment.gamma=0", "augment.blur=0", "augment.noise=0", "augment.jpeg=100"]
_DOCUMENTED = ["preprocess.equalize=false", "augment.brightness=0.1", "augment.contrast=0.1"]
PIECES = {
    "recipe": ("profile full: films that grow from 128 to 224 px, ten epochs", []),
    "small": ("the same at 128 px throughout, five epochs; what follows is compared with this", SMALL),
    "plain": (
        "flip, rotation and mild levels alone: no equalisation, geometry or damage",
        [*SMALL, *_DOCUMENTED, *_NO_GEOMETRY, *_NO_DAMAGE],
    ),
    "no-equalisation": ("grey levels as they come", [*SMALL, "preprocess.equalize=false"]),
    "no-geometry": ("no change of scale, aspect and place", [*SMALL, *_NO_GEOMETRY]),
    "no-damage": ("no gamma, blur, noise and compression", [*SMALL, *_NO_DAMAGE]),
}
JUDGED = 4  # draws of changes a validation film
JUDGE_SEED = 104_729  # of these; other changes than those that calibrate
FIGURES = ("auroc", "accuracy", "sensitivity", "specificity", "ece", "brier")


def child(piece: str, seed: int, given: argparse.Namespace) -> None:
    """Train one cell, find its operating point, and write down what it came to."""
    from safetensors import safe_open
    from safetensors.torch import load_file
    from safetensors.torch import save as serialise

    from pneumonia.config.resolve import resolve
    from pneumonia.data import packing
    from pneumonia.files import write_bytes
    from pneumonia.modelling.calibration import calibrate
    from pneumonia.modelling.training_loop import fit
    from pneumonia.modelling.training_set import TrainingSet

    settings = [f"data.root={given.data}", f"train.seed={seed}", f"data.split_seed={seed}", "train.threads=1"]
    settings += [f"model.weights={given.weights}"] if given.weights else []
    config = resolve("full", assignments=[*settings, *PIECES[piece][1], *given.settings], environment={})
    folder = _folder(given.results, piece, seed)
    packed = packing.pack(Path(config.data.root), config.data, config.preprocess, given.results / "work")
    manifest = packed.manifest
    data = TrainingSet.of(packed.pixels, manifest)
    weights, history, key = folder / "weights.safetensors", folder / "history.json", _key(manifest, config)
    if not weights.exists():
        fitted = fit(data, config, folder, key, lambda epoch: print(piece, seed, epoch.epoch, epoch.auroc, flush=True))
        history.write_text(json.dumps([epoch.model_dump() for epoch in fitted.history]))
        tensors = {name: tensor.contiguous() for name, tensor in fitted.state.items()}
        write_bytes(weights, serialise(tensors, {"key": key}))
        (folder / "checkpoint.safetensors").unlink()
    if given.train_only:
        return
    with safe_open(weights, framework="pt") as file:
        if (file.metadata() or {}).get("key") != key:
            raise SystemExit(
                f"{folder}: was trained with other settings, data or weights; remove it, or take --results"
            )
    point, state = calibrate(load_file(weights), data, config)
    found = {
        "piece": piece,
        "seed": seed,
        "minutes": sum(epoch["seconds"] for epoch in json.loads(history.read_text())) / 60,
        "point": point.model_dump(),
        **_figures(state, point.threshold, data, manifest.indices("test") if given.test else None, config),
    }
    (folder / "cell.json").write_text(json.dumps(found))


def _key(manifest: Manifest, config: Config) -> str:
    """Name all that a cell's weights depend on."""
    from pneumonia.modelling.weights import weights_origin

    parts = {
        "split": manifest.split_digest,
        "start": weights_origin(config.model.weights),
        **{section: getattr(config, section).model_dump() for section in ("preprocess", "augment", "train")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _figures(
    state: dict[str, Any], threshold: float, data: TrainingSet, test: NDArray[np.int64] | None, config: Config
) -> dict[str, Any]:
    """On validation films as they are, changed, and without each cue; and on the test films, where they are given."""
    import torch
    from scipy.special import expit

    from pneumonia.config.resolve import resolve
    from pneumonia.evaluation.shortcut_ablation import measure_dependence, remove_shortcuts
    from pneumonia.modelling.calibration import margins
    from pneumonia.modelling.device import pick_precision
    from pneumonia.modelling.network import assemble_network
    from pneumonia.modelling.scoring import predict_probabilities
    from pneumonia.statistics.metrics import compute_metrics

    torch.set_num_threads(1)
    network = assemble_network(state, mirror=config.evaluate.mirror)

    def figures(rows: NDArray[np.int64], scores: NDArray[np.float64]) -> dict[str, float]:
        patients = [data.patients[row] for row in rows]
        found = compute_metrics(data.labels[rows], scores, patients, threshold, config.evaluate)
        return {name: round(found[name].value, 4) for name in FIGURES}

    held, every = data.validation, np.arange(len(data.validation))
    full = resolve("full", assignments=[f"data.root={config.data.root}"], environment={})
    # as wide as on the films that it was made for
    blur = full.augment.blur * config.preprocess.size / full.preprocess.size
    changes = full.augment.model_copy(update={"blur": blur})
    precision = pick_precision(config.train, torch.device("cpu"))
    margins = margins(network, data.pixels, held, changes, JUDGED, precision=precision, seed=JUDGE_SEED)
    bare = remove_shortcuts(data.pixels[held], config.preprocess)
    reliance = measure_dependence(
        network,
        data.pixels[held],
        data.labels[held],
        [data.patients[row] for row in held],
        config.preprocess,
        config.evaluate,
        precision=precision,
    )
    found: dict[str, Any] = {
        "validation": figures(held, predict_probabilities(network, data.pixels, held)),
        "stripped": figures(held, predict_probabilities(network, bare, every, precision=precision)),
        "judged": figures(np.tile(held, JUDGED), expit(margins.ravel())),
        "reliance": {cue: round(moved.separation.value, 4) for cue, moved in reliance.items()},
    }
    if test is not None:
        scores = predict_probabilities(network, data.pixels, test)
        found["test"] = figures(test, scores)
        found["scores"], found["labels"] = scores.round(5).tolist(), data.labels[test].tolist()
    return found


def _folder(results: Path, piece: str, seed: int) -> Path:
    folder = results / f"{piece}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(given: argparse.Namespace) -> None:
    """Run the cells that are not finished, `jobs` at a time, each on a core of its own."""
    wanted = [(piece, seed) for piece in given.pieces for seed in given.seeds]
    waiting = deque(cell for cell in wanted if not _finished(given, *cell))
    cores = sorted(os.sched_getaffinity(0))[: given.jobs]

    def work(core: int) -> None:
        while True:
            try:
                piece, seed = waiting.popleft()
            except IndexError:  # the other cores have taken the rest
                return
            command = [sys.executable, __file__, "--child", piece, str(seed), *sys.argv[1:]]
            subprocess.run(
                command,
                check=True,
                stdout=sys.stderr,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    with ThreadPoolExecutor(len(cores)) as pool:
        for done in [pool.submit(work, core) for core in cores]:
            done.result()


def _finished(given: argparse.Namespace, piece: str, seed: int) -> bool:
    folder = _folder(given.results, piece, seed)
    if given.train_only:
        return (folder / "weights.safetensors").exists()
    path = folder / "cell.json"
    return path.exists() and (not given.test or "test" in json.loads(path.read_text()))


def table(results: Path) -> dict[str, Any]:
    """Mean and standard deviation over seeds of every piece that has a finished cell."""
    found: dict[str, Any] = {}
    for piece, (words, settings) in PIECES.items():
        cells = [json.loads(path.read_text()) for path in sorted(results.glob(f"{piece}-[0-9]*/cell.json"))]
        if not cells:
            continue

        def spread(values: Sequence[float]) -> dict[str, float]:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            return {"mean": round(float(np.mean(values)), 4), "sd": round(deviation, 4)}

        row: dict[str, Any] = {"what": words, "settings": settings}
        row["minutes"] = spread([cell["minutes"] for cell in cells])
        for part in ("point", "validation", "stripped", "judged", "reliance"):
            row[part] = {name: spread([cell[part][name] for cell in cells]) for name in cells[0][part]}
        row["cells"] = [
            {name: cell[name] for name in ("seed", "stripped", "judged", "test") if name in cell} for cell in cells
        ]
        tested = [cell for cell in cells if "test" in cell]
        if tested:
            row["test"] = {name: spread([cell["test"][name] for cell in tested]) for name in FIGURES}
            row["together"] = _together(tested)
        found[piece] = row
    return found


def _together(cells: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The models' probabilities averaged, at the mean of their thresholds."""
    from sklearn.metrics import roc_auc_score

    labels = np.array(cells[0]["labels"])
    scores = np.mean([cell["scores"] for cell in cells], axis=0)
    called = scores >= np.mean([cell["point"]["threshold"] for cell in cells])
    return {
        "models": len(cells),
        "auroc": round(float(roc_auc_score(labels, scores)), 4),
        "accuracy": round(float((called == labels).mean()), 4),
        "sensitivity": round(float(called[labels == 1].mean()), 4),
        "specificity": round(float(1 - called[labels == 0].mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/chest_xray", help="folder of films")
    parser.add_argument("--weights", help="imagenet, none, or a file")
    parser.add_argument("--pieces", nargs="+", default=list(PIECES), choices=PIECES, metavar="PIECE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="cells at once, a core each")
    parser.add_argument("--test", action="store_true", help="score the test folder, once a model")
    parser.add_argument("--train-only", action="store_true", help="keep the weights, leave scoring to a later call")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--results", type=Path, default=ROOT / ".pneumonia" / "recipe", help="where cells are kept")
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
    for piece, row in found.items():
        for part in ("stripped", "judged", "test"):
            if part in row:
                told = (f"{name} {row[part][name]['mean']:.4f} ± {row[part][name]['sd']:.4f}" for name in FIGURES)
                print(f"{piece:<16} {part:<8} {'  '.join(told)}")


if __name__ == "__main__":
    main()
