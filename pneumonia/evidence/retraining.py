"""Prepare the data and train again with a version's own code, and compare what comes out with the version.

Rule: a training gives the same bits on the same kind of machine, which is one with the same device, vector
instructions, precision and threads, the same features of the processor and the same versions of the libraries that
compute. There, other weights differ. Elsewhere they may differ, and so may every score; the table then says by how much
the scores and the metrics of the retrained model differ, and nothing that the version claims is refuted by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumonia.evaluation.assessment import ScoredTable
from pneumonia.evidence.checkout import run_script
from pneumonia.records.dossier import Environment
from pneumonia.records.model import ModelRecord
from pneumonia.records.reproduction import Row, compare

SPLITS = {"release set": "test", "gate set": "gate"}
RETRAINED = "retrained model"
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "pillow")
"""Those that a training's bits depend on."""

SCRIPT = '''
"""Prepare the data of a recorded configuration, and where that is wanted train and score."""
import json, sys
from pathlib import Path
import pneumonia
from pneumonia.config.schema import Config
from tasks.prepare_data import prepare_data

given = json.loads(Path(sys.argv[1]).read_text())
if not Path(pneumonia.__file__).resolve().is_relative_to(Path.cwd().resolve()):
    raise SystemExit(f"{pneumonia.__file__} was imported instead of the checked out code")
config = Config.model_validate(given["config"])
dataset = prepare_data(config)
found = {"data_digest": dataset.digest, "split_digest": dataset.split_digest, "dvc_md5": dataset.dvc_md5}
if given["train"]:
    import mlflow
    from pneumonia.data import packing
    from pneumonia.data.manifest import Manifest
    from pneumonia.evaluation.scored_model import Model, Split
    from pneumonia.modelling.device import Compute
    from tasks.train_model import train_model

    trained = train_model(dataset, config)
    model = Model.load(Path(trained.weights), Compute.of(config.train, precision="fp32"))
    manifest = Manifest.load(Path(dataset.manifest))
    split = Split.of(packing.open_pixels(Path(dataset.pixels)), manifest, given["split"])
    scored = model.score(split.images)
    found |= {
        "weights_digest": trained.weights_digest,
        "model_digest": model.record.model_digest(),
        "computed_with": list(trained.computed_with),
        "metrics": dict(mlflow.MlflowClient(trained.tracking_uri).get_run(trained.run_id).data.metrics),
        "scores": dict(zip(split.paths, [float(each) for each in scored.probabilities])),
    }
Path(sys.argv[2]).write_text(json.dumps(found))
'''
"""What runs in the worktree, with the recorded code: the steps that every commit has."""


@dataclass(frozen=True)
class Machines:
    """The machine of the training and this one, as far as a training's bits depend on them.

    Attributes:
        there: environment of the version's dossier; None where there is none.
        here: of this process.
    """

    there: Environment | None
    here: Environment

    def differences(self, computed_there: Sequence[str], computed_here: Sequence[str]) -> list[str]:
        """Return, in sentences, in what the machines differ; nothing for the same kind of machine."""
        if len(computed_there) != 1:
            return [f"the version was computed with {'; then '.join(computed_there) or 'what was not recorded'}"]
        found = []
        if list(computed_there) != list(computed_here):
            found.append(f"computed with {', '.join(computed_here)}, and the version with {computed_there[0]}")
        if self.there is None:
            return [*found, "the machine of the training was not recorded"]
        if self.there.features != self.here.features or self.there.processor != self.here.processor:
            found.append(f"this processor is another ({_features(self.here)}, and there {_features(self.there)})")
        pairs = {name: (self.there.libraries.get(name), self.here.libraries.get(name)) for name in LIBRARIES}
        changed = [f"{name} {there} there, {here} here" for name, (there, here) in pairs.items() if there != here]
        return [*found, *([f"other libraries: {', '.join(changed)}"] if changed else [])]

    def locks(self) -> list[str]:
        """Return, in sentences, which lock files are others than the recorded ones."""
        if self.there is None:
            return ["no dossier says with which locked software the version was made"]
        here = {each.path: each.sha256 for each in self.here.locks}
        changed = [
            f"{each.path} {each.sha256[:12]} there, {here.get(each.path, 'none')[:12]} here"
            for each in self.there.locks
            if here.get(each.path) != each.sha256
        ]
        return [f"the locked software of this environment is another: {'; '.join(changed)}"] if changed else []


def _features(environment: Environment) -> str:
    return f"{environment.processor} {' '.join(environment.features)}".strip()


def run_again(code: Path, record: ModelRecord, root: str, measured_on: str, *, train: bool) -> dict[str, Any]:
    """Prepare the data with the recorded code, and where that is wanted train and score; return what came out.

    Args:
        code: the worktree; its parent holds the work folder.
        record: of the version; its configuration is used, with a work folder and a store of its own.
        root: folder of the images, or ``phantom``.
        measured_on: which images are scored.
        train: train, and score.

    Raises:
        CannotReproduce: the recorded code does not run in this environment.
    """
    place = code.parent
    given, found = place / "given.json", place / "found.json"
    config = settings(record, root, place / "work")
    given.write_text(json.dumps({"config": config, "train": train, "split": SPLITS.get(measured_on, "test")}))
    run_script(code, SCRIPT, [str(given), str(found)], place / "log.txt")
    return dict(json.loads(found.read_text(encoding="utf-8")))


def settings(record: ModelRecord, root: str, work: Path) -> dict[str, Any]:
    """Return the recorded configuration for this machine: other folders, a store of its own, the recorded threads."""
    config = json.loads(json.dumps(record.config))
    config["work"] = str(work)
    config["data"]["root"] = root
    config["tracking"] |= {"uri": "auto", "system_metrics": False}
    words = record.computed_with[0].split() if len(record.computed_with) == 1 else []
    if words[-1:] == ["threads"] and not config["train"].get("threads"):
        config["train"]["threads"] = int(words[-2])  # the number that the recorded machine had
    return dict(config)


def compare_data(record: ModelRecord, found: Mapping[str, Any]) -> list[Row]:
    """Compare the digests of data version and split with those of the images that were brought."""
    rows = [compare("record", name, getattr(record, name), found[name]) for name in ("data_digest", "split_digest")]
    return rows if record.phantom else [*rows, compare("record", "dvc_md5", record.dvc_md5, found["dvc_md5"])]


def compare_training(
    record: ModelRecord, found: Mapping[str, Any], table: ScoredTable, differences: Sequence[str]
) -> list[Row]:
    """Compare the retrained model with the version: digests and scores, by the rule of this module.

    Args:
        record: of the version.
        found: of `run_again`.
        table: the version's stored scores.
        differences: of `Machines.differences`.
    """
    rows = [
        compare(RETRAINED, "weights_digest", record.weights_digest, found["weights_digest"]),
        compare(RETRAINED, "model_digest", record.model_digest(), found["model_digest"]),
    ]
    rows += _compare_scores(table, found["scores"])
    return [expected(row, differences) for row in rows]


def expected(row: Row, differences: Sequence[str]) -> Row:
    """Return a row with ``may differ`` in place of ``differs``, where the machines are of different kinds."""
    if row.verdict != "differs" or not differences:
        return row
    return row.model_copy(
        update={"verdict": "may differ", "note": "; ".join([row.note, *differences]).removeprefix("; ")}
    )


def _compare_scores(table: ScoredTable, scores: Mapping[str, float]) -> list[Row]:
    claimed = {image.path: image.probability for image in table.images}
    rows = [compare(RETRAINED, "images scored", len(claimed), len(claimed.keys() & scores.keys()))]
    pairs = [(path, before, scores[path]) for path, before in claimed.items() if path in scores]
    if not pairs:
        return rows
    path, before, now = max(pairs, key=lambda pair: abs(pair[1] - pair[2]))
    changed = sum((each >= table.threshold) != (other >= table.threshold) for _, each, other in pairs)
    return [
        *rows,
        compare(RETRAINED, "probability that differs most", before, now, path),
        compare(RETRAINED, "images classified otherwise", 0, changed),
    ]
