"""The steps and their MLflow runs: one a model, never begun again under a registered version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.config.schema import CLASSES
from pneumonia.data.manifest import Manifest
from pneumonia.errors import PneumoniaError
from pneumonia.evaluation import judgement
from pneumonia.modelling.device import Compute
from pneumonia.records.steps import Dataset
from pneumonia.registry import models
from pneumonia.tracking.client import download_artifact, load_json, mlflow_client
from tasks import validate_model as validation_step
from tasks.prepare_data import prepare_data
from tasks.train_model import train_model
from tasks.validate_model import validate_model
from tests.support.plan import planned
from tests.support.small import small
from tests.support.steps import exported, run
from tests.tasks.test_identity import runs

ROOT = Path(__file__).parents[2]
CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from pneumonia.tracking.run import Run
from tests.support.small import small
from tasks.prepare_data import prepare_data
from tasks.train_model import train_model
import pneumonia.tracking.mlflow_model as mlflow_model
mlflow_model.save_network = lambda network, example, record, path, **_: path.mkdir(parents=True)
finish = Run.finish
def killed(run, *status):
    if {closed}:
        finish(run, *status)
    os.kill(os.getpid(), signal.SIGKILL)
Run.finish = killed
config = small(Path({work!r}))
train_model(prepare_data(config), config)
"""


@pytest.mark.integration
@pytest.mark.parametrize("closed", [False, True])
def test_a_kill_at_the_end_of_a_training_makes_no_second_run(work: Path, closed: bool) -> None:
    code = CHILD.format(root=str(ROOT), work=str(work), closed=closed)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300
    )
    assert done.returncode == -9, done.stderr.decode()
    trained = train_model(prepare_data(small(work)), small(work))
    (only,) = runs(trained.tracking_uri, trained.run_id)
    assert (only.info.run_id, only.info.status) == (trained.run_id, "FINISHED")


def test_a_failed_validation_leaves_the_training_finished(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = prepare_data(small(work))
    trained = train_model(dataset, small(work))

    def broken(*_: object, **__: object) -> None:
        raise PneumoniaError("the report cannot be written")

    monkeypatch.setattr(validation_step, "_report", broken)
    with pytest.raises(PneumoniaError, match="the report"):
        validate_model(dataset, trained, exported(dataset, trained, small(work)), small(work))
    (only,) = runs(trained.tracking_uri, trained.run_id)
    assert only.info.status == "FINISHED"
    monkeypatch.undo()


def test_a_fresh_training_leaves_the_files_of_a_registered_version(work: Path, tmp_path: Path) -> None:
    _, first, _, promotion = run(small(work))
    assert promotion.promoted
    client = mlflow_client(first.tracking_uri)
    client.set_terminated(first.run_id, "FAILED")  # as a validation that failed once left it
    (weights,) = (work / "artifacts").rglob("weights/model.safetensors")
    before = weights.stat().st_mtime_ns
    again = train_model(prepare_data(small(work)), small(work), fresh=True)
    assert again.run_id != first.run_id
    assert weights.stat().st_mtime_ns == before
    champion = models.champion(first.tracking_uri, promotion.name)
    assert champion is not None
    assert champion.run_id == first.run_id
    assert download_artifact(first.tracking_uri, first.run_id, "weights/model.safetensors", tmp_path / "back").exists()


def test_a_fresh_training_leaves_models_of_other_operating_points(work: Path) -> None:
    dataset = prepare_data(small(work))
    one = train_model(dataset, small(work))
    other = train_model(dataset, small(work, "operating_point.threshold=0.4"))
    train_model(dataset, small(work), fresh=True)
    assert Path(other.weights).exists()
    assert train_model(dataset, small(work, "operating_point.threshold=0.4")) == other
    assert one.weights_digest == other.weights_digest


def test_the_report_of_a_registered_version_stays(work: Path) -> None:
    dataset, trained, validation, _ = run(small(work))
    graphs = exported(dataset, trained, small(work))
    again = validate_model(dataset, trained, graphs, small(work, "gate.min_auroc=0.001"))
    assert again.verdict != validation.verdict
    kept = load_json(trained.tracking_uri, trained.run_id, "report/verdict.json")
    assert kept == validation.verdict.model_dump(mode="json")
    newer = load_json(trained.tracking_uri, trained.run_id, "report-2/verdict.json")
    assert newer == again.verdict.model_dump(mode="json")


def test_dependence_is_measured_as_the_metrics_are(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(work, "train.precision=bf16")
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    measured: list[Compute] = []
    original = judgement.measure_dependence

    def watched(*given: object, **named: object) -> object:
        measured.append(next(one for one in given if isinstance(one, Compute)))
        return original(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(judgement, "measure_dependence", watched)
    validate_model(dataset, trained, exported(dataset, trained, config), config)
    assert [compute.precision for compute in measured] == ["fp32"]


# ---- on which images, and where they lie


def gate_files(dataset: Dataset) -> dict[str, list[Path]]:
    """The files of the gate set, by class."""
    held = [entry for entry in Manifest.load(Path(dataset.manifest)).entries if entry.split == "gate"]
    return {
        name: [Path(dataset.root) / entry.path for entry in held if entry.label == label]
        for label, name in enumerate(CLASSES)
    }


def test_the_champion_is_compared_on_images_of_equal_content_alone(work: Path) -> None:
    run(planned(work))
    config = planned(work, "train.seed=1", "preprocess.size=40")
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    gate = gate_files(dataset)
    image, other = min(gate["NORMAL"]), max(Path(dataset.root).glob("test/PNEUMONIA/*.jpeg"))
    image.write_bytes(other.read_bytes())  # after the candidate's images were decoded, before the champion's
    verdict = validate_model(dataset, trained, exported(dataset, trained, config), config).verdict
    count = sum(map(len, gate.values()))
    assert {(found.images, found.of) for found in verdict.comparisons} == {(count - 1, count)}
    texts = [reason.text for reason in verdict.reasons if reason.name.startswith("champion")]
    assert all(f"({count - 1} of {count} images)" in text for text in texts)


def test_images_that_have_all_changed_are_compared_with_nothing(work: Path) -> None:
    run(planned(work))
    config = planned(work, "train.seed=1", "preprocess.size=40")
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    gate = gate_files(dataset)
    source = min(Path(dataset.root).glob("test/NORMAL/*.jpeg")).read_bytes()
    for image in gate["NORMAL"]:
        image.write_bytes(source)
    gone, count = len(gate["NORMAL"]), sum(map(len, gate.values()))
    with pytest.raises(PneumoniaError, match=rf"the files of {gone} of {count} images of the gate set have changed"):
        validate_model(dataset, trained, exported(dataset, trained, config), config)


def test_phantoms_of_two_seeds_do_not_share_a_folder(work: Path) -> None:
    first = prepare_data(small(work))
    files = {path: path.read_bytes() for path in Path(first.root).rglob("*.jpeg")}
    second = prepare_data(small(work, "phantom.seed=1"))
    assert first.root != second.root
    assert {path: path.read_bytes() for path in Path(first.root).rglob("*.jpeg")} == files


def test_two_preprocessings_have_a_manifest_and_an_audit_each(work: Path) -> None:
    first = prepare_data(small(work))
    manifest, audit = Path(first.manifest).read_bytes(), Path(first.audit).read_bytes()
    for change in ("preprocess.size=40", "preprocess.equalize=true", "data.shortcut_auroc=0.9"):
        other = prepare_data(small(work, change))
        assert other.split_digest == first.split_digest
        assert len({first.manifest, other.manifest}) == len({first.audit, other.audit}) == 2, change
    assert (Path(first.manifest).read_bytes(), Path(first.audit).read_bytes()) == (manifest, audit)
    assert prepare_data(small(work)) == first
