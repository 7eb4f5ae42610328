"""Trainings of the booted stack: one that takes seconds, one long enough to be interrupted, and what is left of it."""

from __future__ import annotations

from typing import Any

from tests.deployments.stack import Stack, eventually

SMALL: dict[str, Any] = {
    "data.root": "phantom",
    "model.architecture": "tiny",
    "phantom.train": 64,
    "phantom.test": 32,
    "phantom.size": 64,
    "preprocess.size": 32,
    "train.epochs": 2,
    "train.batch_size": 32,
    "train.threads": 1,
    "train.device": "cpu",
    "train.precision": "fp32",
    "evaluation.bootstrap": 100,
    "gate.min_auroc": 0.0,
    "gate.min_sensitivity": 0.0,
    "gate.min_specificity": 0.0,
    "gate.max_shortcut_dependence": 2.0,
}
"""Settings of a training that takes seconds and whose model always passes."""
LONGER: dict[str, Any] = {
    **SMALL,
    "phantom.train": 400,
    "preprocess.size": 320,
    "train.batch_size": 4,
    "train.epochs": 8,
}
"""Settings of a training whose epochs take a second or more: it can be met in the middle of one."""


def in_epoch(stack: Stack, run: str, epoch: int, attempt: int = 1) -> None:
    """Wait until the run's training is in an epoch, as its log says."""

    def there() -> bool:
        task = stack.tasks(run)["train_model"]
        assert task["state"] not in ("failed", "upstream_failed"), stack.log(run, "train_model", attempt)[-2000:]
        return task["try_number"] >= attempt and f"epoch {epoch}/" in stack.log(run, "train_model", attempt)

    eventually(f"epoch {epoch}", there, 600)


def check_whole(stack: Stack, run: str, settings: dict[str, Any]) -> dict[str, Any]:
    """See that the training ended in one MLflow run with each epoch once, and in one version of the model."""
    trained: dict[str, Any] = stack.xcom(run, "train_model", "trained")
    (only,) = stack.mlflow_runs(trained["key"])
    assert only["info"]["run_id"] == trained["run_id"]
    assert only["info"]["status"] == "FINISHED"
    for metric in ("epoch", "train_loss", "val_loss", "auroc"):
        steps = [step for step, _ in stack.history(trained["run_id"], metric)]
        assert steps == list(range(1, settings["train.epochs"] + 1)), metric
    assert [version["run_id"] for version in stack.versions()].count(trained["run_id"]) == 1
    parameters = {parameter["key"]: parameter["value"] for parameter in only["data"]["params"]}
    assert parameters["train.seed"] == str(settings["train.seed"])
    return trained
