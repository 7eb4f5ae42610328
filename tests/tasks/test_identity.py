"""What names a training and a model, what is reused, and that it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pneumonia.modelling import identity, training_loop
from pneumonia.modelling.fitted import Fitted
from pneumonia.modelling.identity import model_key, training_key
from pneumonia.modelling.network import load_model
from pneumonia.records.model import read_record
from pneumonia.tracking.client import mlflow_client
from tasks import train_model as step
from tasks.prepare_data import prepare_data
from tasks.train_model import train_model
from tests.support.small import small

USED = ("calibrate=true", "flip_tta=true", "threshold=0.4")
CALIBRATED = ("operating_point.calibrate=true", "operating_point.perturbations=1")


class Interrupted(Exception):
    """Stands for whatever ends a training in the middle."""


def runs(uri: str, run_id: str) -> list[Any]:
    client = mlflow_client(uri)
    return list(client.search_runs([client.get_run(run_id).info.experiment_id]))


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*_: object) -> None:
        raise AssertionError("it is trained again")

    monkeypatch.setattr(training_loop, "_Session", trained)


def test_a_training_is_named_by_what_its_weights_depend_on(work: Path) -> None:
    dataset = prepare_data(small(work))
    key = training_key(dataset, small(work))
    for change in ("train.seed=1", "augment.flip=0", "preprocess.equalize=true", "train.batch_size=8"):
        assert training_key(dataset, small(work, change)) != key, change
    assert training_key(dataset, small(work, "model.architecture=resnet18")) != key


def test_a_training_is_not_named_by_what_its_weights_do_not_depend_on(work: Path) -> None:
    dataset = prepare_data(small(work))
    key = training_key(dataset, small(work))
    reported = ("evaluation.bootstrap=500", "evaluation.seed=3", "gate.min_auroc=0.5", "tracking.experiment=other")
    used = tuple(f"operating_point.{setting}" for setting in USED)
    computed = ("train.device=cpu", "train.precision=bf16", "train.threads=2")
    for change in (*reported, *used, *computed, "registry.name=other-phantom"):
        assert training_key(dataset, small(work, change)) == key, change


def test_initial_weights_are_named_by_their_content(work: Path) -> None:
    dataset = prepare_data(small(work))
    keys = set()
    for name, content in (("one", b"a"), ("two", b"a"), ("three", b"b")):
        (work / name).write_bytes(content)
        keys.add(training_key(dataset, small(work, f"model.weights={work / name}")))
    assert len(keys) == 2


def test_a_training_is_named_by_its_code(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = prepare_data(small(work))
    key = training_key(dataset, small(work))
    monkeypatch.setattr(identity, "source_digest", lambda *modules: f"edited {modules}")
    assert training_key(dataset, small(work)) != key


def test_a_model_is_named_by_how_its_weights_are_used(work: Path) -> None:
    dataset = prepare_data(small(work))

    def key(*changes: str) -> str:
        return model_key("training", dataset, small(work, *changes))

    plain, calibrated = key(), key("operating_point.calibrate=true")
    keys = [plain, *(key(f"operating_point.{setting}") for setting in USED), key("registry.name=other-phantom")]
    assert len(set(keys)) == len(keys)
    assert key("evaluation.bootstrap=500") == plain
    assert key("operating_point.target_sensitivity=0.9") == plain, "there is nothing that it would be used for"
    assert key("operating_point.calibrate=true", "operating_point.target_sensitivity=0.9") != calibrated
    assert key("operating_point.calibrate=true", "operating_point.threshold=0.4") == calibrated


def test_a_reporting_setting_trains_nothing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = prepare_data(small(work))
    first = train_model(dataset, small(work))
    no_training(monkeypatch)
    lines: list[str] = []
    again = train_model(
        dataset, small(work, "evaluation.bootstrap=500"), lambda done, total, message: lines.append(message)
    )
    assert again == first
    assert len(runs(first.tracking_uri, first.run_id)) == 1
    line, took = lines
    assert line.startswith(f"reusing the finished model {first.key[:8]} of {first.finished_at}, computed with CPU")
    assert took.startswith("took ")


def test_a_training_with_other_software_says_why_it_is_made_again(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(work, "train.epochs=1")
    dataset = prepare_data(config)
    first = train_model(dataset, config)
    lines: list[str] = []
    for change in ("code", "torch"):
        if change == "code":
            monkeypatch.setattr("pneumonia.modelling.identity.training_code", lambda _: "edited")
        else:
            monkeypatch.setattr("pneumonia.modelling.identity.version", lambda name: f"99.{len(name)}")
        lines.clear()
        again = train_model(dataset, config, lambda done, total, message: lines.append(message))
        assert again.training_key != first.training_key
        told = [line for line in lines if line.startswith("training anew")]
        assert len(told) == 1
        assert ("the code that trains" in told[0]) or ("torch" in told[0] and "99.5" in told[0])
    lines.clear()
    train_model(
        dataset, small(work, "train.seed=5", "train.epochs=1"), lambda done, total, message: lines.append(message)
    )
    assert not any(line.startswith("training anew") for line in lines), "that is another training"


def test_another_operating_point_is_another_model_of_the_same_training(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = prepare_data(small(work))
    first = train_model(dataset, small(work))
    no_training(monkeypatch)
    lines: list[str] = []
    other = train_model(dataset, small(work, *CALIBRATED), lambda done, total, message: lines.append(message))
    assert any(line.startswith(f"reusing the finished training {first.training_key[:8]} of ") for line in lines)
    assert other.training_key == first.training_key
    assert len({first.key, other.key}) == len({first.run_id, other.run_id}) == 2
    assert len({first.weights, other.weights}) == len({first.weights_digest, other.weights_digest}) == 2
    assert load_model(Path(first.weights))[1].calibration is None
    assert load_model(Path(other.weights))[1].calibration is not None
    assert other.epochs == first.epochs
    history = mlflow_client(other.tracking_uri).get_metric_history(other.run_id, "val_loss")
    assert [point.step for point in history] == [1, 2], "its run is as whole as the other's"
    assert train_model(dataset, small(work)) == first, "and the other stays what it was"


def interrupted(work: Path, **after: int) -> None:
    """Train until a step, and fail there."""

    def progress(done: float, total: float, message: str = "") -> None:
        if done == after["steps"]:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_model(prepare_data(small(work)), small(work), progress)


def test_a_resume_with_other_threads_is_said_and_marked(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    interrupted(work, steps=5)  # in the second epoch
    config = small(work, "train.threads=2")
    trained = train_model(prepare_data(config), config)
    (warning,) = (entry.getMessage() for entry in caplog.records if "goes on with" in entry.getMessage())
    assert "\n" not in warning
    assert "1 threads and goes on with" in warning
    assert "2 threads" in warning
    (run,) = runs(trained.tracking_uri, trained.run_id)
    assert run.data.tags[step.BIT_EQUAL_TAG] == "false"
    assert [words[-9:] for words in read_record(Path(trained.weights)).computed_with] == ["1 threads", "2 threads"]
    assert trained.computed_with == read_record(Path(trained.weights)).computed_with


def test_a_resume_with_the_same_is_not_marked(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    interrupted(work, steps=5)  # in the second epoch
    trained = train_model(prepare_data(small(work)), small(work))
    assert "goes on with" not in caplog.text
    (run,) = runs(trained.tracking_uri, trained.run_id)
    assert run.data.tags[step.BIT_EQUAL_TAG] == "true"
    assert len(trained.computed_with) == 1


def test_the_accuracy_is_that_of_the_weights(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch of the lowest loss need not be that of the highest accuracy."""
    from dataclasses import replace

    def fit(*given: Any) -> Fitted:
        fitted = training_loop.fit(*given)
        accuracies = zip(fitted.history, (0.9, 0.7), strict=True)
        history = [epoch.model_copy(update={"val_accuracy": accuracy}) for epoch, accuracy in accuracies]
        return replace(fitted, history=history, best_epoch=2)

    monkeypatch.setattr(step, "fit", fit)
    trained = train_model(prepare_data(small(work)), small(work))
    assert trained.best_epoch_val_accuracy == 0.7
    (run,) = runs(trained.tracking_uri, trained.run_id)
    assert run.data.metrics["best_epoch_val_accuracy"] == 0.7
