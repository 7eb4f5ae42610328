"""The steps together, on phantoms and a real MLflow store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flows.terminal import announce
from pneumonia.config.resolve import resolve
from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest
from pneumonia.errors import ConfigError, DataError, PneumoniaError, TrackingError
from pneumonia.evaluation.assessment import ScoredTable, assess
from pneumonia.inference.predictor import Predictor
from pneumonia.modelling.network import FlipAveraged, load_model
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.records.assessment import Assessment
from pneumonia.records.steps import Dataset, Promotion, TrainedModel, Validation
from pneumonia.registry import models
from pneumonia.statistics.metrics import METRICS
from pneumonia.tracking.client import mlflow_client
from tasks.prepare_data import prepare_data
from tasks.train_model import train_model
from tasks.validate_model import validate_model
from tests.support.plan import planned
from tests.support.small import small
from tests.support.steps import exported, promoted, run
from tests.tasks.conftest import Finished

ROOT = Path(__file__).parents[2]
LOGGED = {
    *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "precision", "recall", "f1", "auroc"),
    *("learning_rate", "images_per_second", "best_epoch_val_accuracy", "release_openings"),
    *(f"test_{name}{end}" for name in ("accuracy", "sensitivity", "specificity", "auroc", "auprc")
      for end in ("", "_low", "_high")),
}  # fmt: skip


def test_a_run_leaves_everything_that_it_says(finished: Finished) -> None:
    _, dataset, trained, validation, promotion = finished
    assert (dataset.kind, dataset.dvc_md5) == ("phantom", None)
    assert promotion.promoted
    assert promotion.name == "pneumonia-tiny-phantom"
    client = mlflow_client(trained.tracking_uri)
    logged = client.get_run(trained.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics.keys() >= LOGGED
    assert logged.data.metrics["release_openings"] == validation.openings == 1
    found = json.loads(Path(dataset.audit).read_text())["shortcuts"]["examples"]
    assert not any("test auroc" in row for row in found), "the pipeline's audit looks at the training folders"
    assert logged.data.params["train.epochs"] == "2"
    assert logged.data.tags["data"] == "phantom"
    assert logged.inputs.dataset_inputs[0].dataset.digest
    assert [point.step for point in client.get_metric_history(trained.run_id, "val_loss")] == [1, 2]
    files = {
        item.path
        for folder in ("", "weights", "data", "report")
        for item in client.list_artifacts(trained.run_id, folder)
    }
    wanted = {"config.json", "weights/model.safetensors", "data/manifest.csv", "data/audit.json", "report/report.md"}
    assert files >= wanted | {
        f"report/{name}.png" for name in ("learning_curves", "roc", "precision_recall", "confusion", "errors")
    }
    assert files >= {"report/scores.csv", "report/assessment.json", "report/decision_curve.png"}
    champion = models.champion(trained.tracking_uri, promotion.name)
    assert champion is not None
    assert (champion.version, champion.weights_digest, champion.phantom) == ("1", trained.weights_digest, True)
    assert [move.to_version for move in models.history(trained.tracking_uri, promotion.name)] == ["1"]
    assert "Not a medical device" in Path(validation.report).read_text()


def test_documents_survive_json_and_steps_accept_them(finished: Finished) -> None:
    """A step is found done by its documents, as another process reads them."""
    config, dataset, trained, validation, promotion = finished
    for document, kind in zip(finished[1:], (Dataset, TrainedModel, Validation, Promotion), strict=True):
        assert kind.model_validate_json(document.model_dump_json()) == document
    assert train_model(dataset, config) == trained
    assert promoted(dataset, trained, validation, config) == promotion


def test_running_again_changes_nothing(work: Path) -> None:
    first, second = run(small(work)), run(small(work))
    assert first == second
    client = mlflow_client(first[1].tracking_uri)
    assert len(client.search_runs([client.get_run(first[1].run_id).info.experiment_id])) == 1
    assert len(models.versions(first[1].tracking_uri, first[3].name)) == 1
    assert len(models.history(first[1].tracking_uri, first[3].name)) == 1


def test_a_second_training_of_the_same_weights_is_no_better(work: Path) -> None:
    first = run(small(work))
    _, trained, validation, promotion = run(small(work), fresh=True)
    assert trained.run_id != first[1].run_id
    assert trained.weights_digest == first[1].weights_digest
    assert [epoch.val_loss for epoch in trained.epochs] == [epoch.val_loss for epoch in first[1].epochs]
    assert not validation.verdict.passed
    assert (promotion.promoted, promotion.version) == (False, None)
    assert "already champion" in promotion.reason
    assert validation.openings == 1, "the same weights for the same purpose are one opening"


def test_the_same_weights_used_in_another_way_are_another_model(work: Path) -> None:
    first = run(small(work))
    _, trained, validation, _ = run(small(work, "operating_point.flip_tta=true"))
    assert trained.weights_digest == first[1].weights_digest
    assert not any("already champion" in reason.text for reason in validation.verdict.reasons)


def test_another_model_is_compared_with_the_champion_and_may_follow_it(work: Path) -> None:
    first = run(small(work))
    other = small(work, "train.seed=1", "preprocess.size=40")
    _, trained, validation, promotion = run(other)
    assert validation.verdict.champion is not None
    assert validation.verdict.champion.version == "1"
    assert (promotion.version, promotion.previous) == ("2", "1")
    worse = small(work, "train.seed=2", "train.epochs=1", "gate.min_auroc=1")
    _, _, validation, promotion = run(worse)
    assert not promotion.promoted
    assert "AUROC" in promotion.reason
    champion = models.champion(trained.tracking_uri, promotion.name)
    assert champion is not None
    assert champion.weights_digest == trained.weights_digest
    assert len(models.versions(trained.tracking_uri, first[3].name)) == 2, "what is refused is not registered"


def test_an_image_that_vanished_is_not_compared_and_counted(work: Path, phantoms: Path, tmp_path: Path) -> None:
    """The comparison with a champion decodes the images again: the file may be gone by then."""
    root = tmp_path / "chest_xray"
    shutil.copytree(phantoms, root)
    settings = (f"data.root={root}", "train.epochs=1")
    _, _, _, promotion = run(planned(work, *settings))
    assert promotion.promoted
    config = planned(work, *settings, "train.seed=1")
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    held = [entry for entry in Manifest.load(Path(dataset.manifest)).entries if entry.split == "gate"]
    (root / held[0].path).unlink()
    found = validate_model(dataset, trained, exported(dataset, trained, config), config).verdict.comparisons
    counts = {(each.images, each.of) for each in found}
    assert counts == {(len(held) - 1, len(held))}, "on what is left, and the verdict says so"


def test_the_same_seed_in_another_place_gives_the_same_weights(work: Path, tmp_path: Path) -> None:
    one = train_model(prepare_data(small(work)), small(work))
    config = small(tmp_path / "elsewhere")
    two = train_model(prepare_data(config), config)
    assert one.weights_digest == two.weights_digest
    assert one.key == two.key
    timeless = {"images_per_second", "seconds", "data_wait"}
    assert [epoch.model_dump(exclude=timeless) for epoch in one.epochs] == [
        epoch.model_dump(exclude=timeless) for epoch in two.epochs
    ]


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.support.small import small
from tests.tasks.conftest import Finished
from tasks.prepare_data import prepare_data
from tasks.train_model import train_model
def tell(done, total, message):
    print(done / total, flush=True)
config = small(Path({work!r}), "train.epochs=6")
print(train_model(prepare_data(config), config, tell).model_dump_json())
"""


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_step_goes_on_in_the_same_run(work: Path, number: signal.Signals) -> None:
    code = CHILD.format(root=str(ROOT), work=str(work))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if float(line) > 0.55:
                break
        os.kill(child.pid, number)
        child.stdout.read()
        assert child.wait(60) != 0
    config = small(work, "train.epochs=6")
    trained = train_model(prepare_data(config), config)
    client = mlflow_client(trained.tracking_uri)
    runs = client.search_runs([client.get_run(trained.run_id).info.experiment_id])
    assert [found.info.run_id for found in runs] == [trained.run_id]
    assert runs[0].info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(trained.run_id, "val_loss")] == [1, 2, 3, 4, 5, 6]
    undisturbed = small(work, "train.epochs=6", "tracking.experiment=undisturbed")
    assert train_model(prepare_data(undisturbed), undisturbed, fresh=True).weights_digest == trained.weights_digest


def test_a_leak_stops_the_pipeline_and_is_named(work: Path) -> None:
    dataset = prepare_data(small(work))
    images = sorted(Path(dataset.root).rglob("*.jpeg"))
    test = next(image for image in images if "test/NORMAL" in image.as_posix())
    train = next(image for image in images if "train/NORMAL" in image.as_posix())
    (test.parent / "IM-9999-0001.jpeg").write_bytes(train.read_bytes())
    with pytest.raises(DataError, match="duplicate_across_splits"):
        prepare_data(small(work, f"data.root={dataset.root}"))


def test_phantoms_may_not_bear_the_name_of_radiographs(work: Path) -> None:
    with pytest.raises(ConfigError, match="-phantom"):
        prepare_data(small(work, "registry.name=pneumonia-tiny"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("registry.name=pneumonia-tiny", "-phantom"),
        ("train.device=cuda", "no CUDA device"),
        ("model.weights=nope.pt", "model.weights=nope.pt: cannot be read"),
        ("model.weights=wrong.pt", "not a tiny"),
    ],
)
def test_what_a_later_step_would_refuse_is_refused_before_anything_is_drawn(
    setting: str, words: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": torch.zeros(1)}, "wrong.pt")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PneumoniaError, match=words):
        prepare_data(small(work, setting))
    assert not (work / "phantoms").exists()
    with pytest.raises(PneumoniaError, match=words):
        announce(small(work, setting))


def test_unsigned_phantoms_are_recognised(work: Path) -> None:
    dataset = prepare_data(small(work))
    (Path(dataset.root) / "phantom.json").unlink()
    config = resolve("fast", assignments=[f"data.root={dataset.root}", f"work={work}"], environment={})
    assert config.registry.name == "pneumonia-resnet18-fast", "nothing beside the files tells that they are phantoms"
    with pytest.raises(ConfigError, match="phantoms"):
        prepare_data(config)


def test_unreachable_tracking_server_is_told_before_training(work: Path) -> None:
    config = small(work, "tracking.uri=http://127.0.0.1:9")
    dataset = prepare_data(config)
    began = time.monotonic()
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        train_model(dataset, config)
    assert time.monotonic() - began < 10


def test_scores_of_the_report_give_its_metrics(finished: Finished) -> None:
    config, validation = finished.config, finished.validation
    table = ScoredTable.read(Path(validation.report).parent / "scores.csv")
    right = (table.probabilities >= config.operating_point.threshold) == (table.labels == 1)
    assert right.mean() == pytest.approx(validation.verdict.metrics["accuracy"].value)
    found = Assessment.model_validate_json((Path(validation.report).parent / "assessment.json").read_text())
    assert assess(table, config.evaluation, "release set") == found, "every number of it, from the scores alone"
    assert {name: found.metrics[name] for name in METRICS} == validation.verdict.metrics
    assert {image.subtype for image in table.images} == {"", "bacteria", "virus"}
    kept = json.loads((Path(validation.report).parent / "verdict.json").read_text())
    assert kept == validation.verdict.model_dump(mode="json")


@pytest.mark.parametrize("mirror", [False, True])
def test_a_calibrated_threshold_is_what_every_consumer_uses(work: Path, mirror: bool, exports: None) -> None:
    point = ("calibrate=true", "perturbations=2", f"flip_tta={mirror}")
    config = small(work, *(f"operating_point.{setting}" for setting in point))
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    logged = mlflow_client(trained.tracking_uri).get_run(trained.run_id).data.metrics
    network, record = load_model(Path(trained.weights))
    assert record.calibration is not None
    assert record.threshold == record.calibration["threshold"] == logged["calibration_threshold"]
    assert logged["calibration_sensitivity"] > config.operating_point.target_sensitivity
    plain = train_model(dataset, small(work))
    assert plain.weights_digest != trained.weights_digest, "the calibration is inside the weights"
    before, _ = load_model(Path(plain.weights))
    kept = load_file(trained.weights)
    assert isinstance(network, FlipAveraged) is mirror
    ratio = before.state_dict()["fc.weight"] / kept["fc.weight"]
    assert ratio.numpy() == pytest.approx(record.calibration["temperature"], rel=1e-4)
    held = Images.of(np.load(dataset.pixels), Manifest.load(Path(dataset.manifest)), "validation")
    called = predict_probabilities(network, held.pixels, held.rows)[held.labels == 1] >= record.threshold
    assert logged["validation_calibrated_on_sensitivity"] == pytest.approx(called.mean()), "measured as it is used"
    assert "validation_sensitivity" not in logged, "on these images the operating point was found"
    plainly = mlflow_client(plain.tracking_uri).get_run(plain.run_id).data.metrics
    assert "validation_sensitivity" in plainly
    assert "validation_calibrated_on_sensitivity" not in plainly
    verdict = validate_model(dataset, trained, exported(dataset, trained, config), config).verdict
    scored = Predictor.load(f"runs:/{trained.run_id}", config)
    images = np.load(dataset.pixels)[:3]
    location = mlflow_client(trained.tracking_uri).get_logged_model(trained.model_uri.removeprefix("models:/"))
    logged_model = mlflow.pyfunc.load_model(location.artifact_location)
    odds = np.diff(logged_model.predict(images.astype(np.float32) / 255))[:, 0]
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(scored.probabilities(images), abs=1e-5)
    assert scored.record.threshold == record.threshold
    truth = [entry for entry in Manifest.load(Path(dataset.manifest)).entries if entry.split == "test"]
    results = scored.score([Path(dataset.root) / entry.path for entry in truth])
    ill = [result["decision"] == "PNEUMONIA" for result, entry in zip(results, truth, strict=True) if entry.label]
    assert sum(ill) / len(ill) == pytest.approx(verdict.metrics["sensitivity"].value)


@pytest.mark.parametrize("feature", ["mark", "border"])
def test_a_model_that_reads_a_planted_feature_is_refused_by_its_name(work: Path, feature: str) -> None:
    images = (
        "phantom.train=230",
        "phantom.test=80",
        "phantom.size=224",
        f"phantom.shortcut={feature}",
        "phantom.opacities=false",
    )
    training = (
        "model.architecture=tiny",
        "preprocess.size=64",
        "train.epochs=7",
        "train.batch_size=16",
        "train.threads=1",
    )
    quick = ("data.root=phantom", "evaluation.bootstrap=100", "tracking.system_metrics=false", f"work={work}")
    config = resolve("fast", assignments=[*images, *training, *quick])
    dataset, _trained, validation, promotion = run(config)
    found = json.loads(Path(dataset.audit).read_text())["shortcuts"]
    assert [row["feature"] for row in found["examples"] if row["flagged"]] == [feature, "all together"]
    verdict = validation.verdict
    assert verdict.metrics["auroc"].value > 0.95, "by the metrics alone it is an excellent model"
    assert [reason.name for reason in verdict.reasons if not reason.passed] == ["shortcuts"]
    (told,) = (reason.text for reason in verdict.reasons if not reason.passed)
    assert told.partition(": ")[2].startswith(f"{feature} "), "the feature is named"
    assert told.count(" (") == 1, "and no other"
    assert not promotion.promoted
    assert "## Shortcuts" in Path(validation.report).read_text()
