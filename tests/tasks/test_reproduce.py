"""`pneumonia reproduce` on a finished pipeline: the same bits again, and a number that was edited by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pneumonia.config.schema import Config
from pneumonia.errors import DataError
from pneumonia.evidence import logged_metrics, recompute, reproduce, retraining
from pneumonia.evidence.machine import describe_here
from pneumonia.evidence.reported_epochs import REPORT, reported_epochs
from pneumonia.evidence.verify import verify_version
from pneumonia.records.model import WEIGHTS_ARTIFACT, read_record
from pneumonia.records.reproduction import Reproduction, compare
from pneumonia.registry import models
from pneumonia.tracking.artifacts import download_all
from pneumonia.tracking.client import mlflow_client
from tests.tasks.conftest import Finished

ROOT = Path(__file__).parents[2]


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the code as it is now, whatever of it is committed here."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("pneumonia", "tasks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "as it is")
    return folder


@pytest.fixture
def version(finished: Finished) -> models.Version:
    return models.get(finished.trained.tracking_uri, finished.promotion.name, "champion")


@pytest.fixture
def folder(finished: Finished, version: models.Version, tmp_path: Path) -> Path:
    """The files of the version's run, to be changed."""
    download_all(finished.trained.tracking_uri, version.run_id, tmp_path / "files")
    return tmp_path / "files"


def logged(finished: Finished) -> dict[str, float]:
    return dict(mlflow_client(finished.trained.tracking_uri).get_run(finished.trained.run_id).data.metrics)


def differing(folder: Path, metrics: dict[str, float]) -> list[tuple[str, str]]:
    rows = recompute.recompute(folder, read_record(folder / WEIGHTS_ARTIFACT), metrics)
    return [(row.part, row.name) for row in rows if row.verdict == "differs"]


def test_a_retrained_model_has_the_same_digest(
    finished: Finished, version: models.Version, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, run = git(repository, "rev-parse", "HEAD"), reproduce._run
    monkeypatch.setattr(reproduce, "_run", lambda *of: ({reproduce.COMMIT_TAG: commit}, run(*of)[1]))
    found = reproduce.reproduce_version(
        version_uri(finished), version, retrain=True, data=Path("elsewhere"), repository=repository
    )
    assert [row for row in found.rows if row.verdict in ("differs", "may differ")] == []
    assert found.passed
    names = {(row.part, row.name): row for row in found.rows}
    weights = names[retraining.RETRAINED, "weights_digest"]
    assert weights.recomputed == weights.claimed == finished.trained.weights_digest
    for claim in (
        ("record", "split_digest"),
        ("record", "data_digest"),
        (retraining.RETRAINED, "model_digest"),
        (retraining.RETRAINED, "probability that differs most"),
        (retraining.RETRAINED, "metrics.auroc.low"),
        (recompute.VERDICT, "metrics.auroc.value"),
        (recompute.ASSESSMENT, "metrics.ece.high"),
        (recompute.DOSSIER, "assessment"),
        (recompute.DOSSIER, "verdict"),
        ("MLflow", "test_auroc_low"),
        ("MLflow", "val_loss"),
        ("MLflow", "auroc"),
        ("MLflow", "best_epoch_val_accuracy"),
        ("MLflow", "validation_auroc_low"),
    ):
        assert names[claim].verdict == "equal", claim
    assert len(names) == len(found.rows), "no row twice"
    assert {name for part, name in names if part == "MLflow"} == set(logged(finished)), "every metric is a row"
    assert any("--data elsewhere is not used" in note for note in found.notes)
    assert git(repository, "worktree", "list").count("\n") == 0, "the checkout is as it was"
    assert git(repository, "status", "--porcelain") == ""
    assert Reproduction.model_validate_json(found.model_dump_json()) == found


def version_uri(finished: Finished) -> str:
    return finished.trained.tracking_uri


def edit(path: Path, keys: list[Any], value: Any) -> None:
    document = json.loads(path.read_text())
    place = document
    for key in keys[:-1]:
        place = place[key]
    assert place[keys[-1]] != value
    place[keys[-1]] = value
    path.write_text(json.dumps(document))


def test_a_number_that_was_edited_by_hand_is_found(finished: Finished, folder: Path) -> None:
    metrics = logged(finished)
    assert differing(folder, metrics) == []
    edits: list[tuple[str, list[Any], float]] = [
        (recompute.VERDICT, ["metrics", "auroc", "value"], 0.9999),
        (recompute.VERDICT, ["metrics", "specificity", "low"], 0.9999),
        (recompute.VERDICT, ["reasons", 0, "value"], 0.9999),
        (recompute.ASSESSMENT, ["predictive_values", 0, "ppv", "high"], 0.12345),
        (recompute.ASSESSMENT, ["slices", 0, "images"], 7000),
        (recompute.ASSESSMENT, ["reliability", 0, "n"], 9),
        (recompute.DOSSIER, ["assessment", "metrics", "ece", "value"], 0.12345),
        (recompute.DOSSIER, ["verdict", "metrics", "f1", "value"], 0.12345),
    ]
    for file, keys, value in edits:
        whole = (folder / file).read_text()
        edit(folder / file, keys, value)
        found = differing(folder, metrics)
        (folder / file).write_text(whole)
        assert len(found) == 1, (keys, found)
        assert found[0][0] == file
        name = ".".join(map(str, keys))
        assert found[0][1] == name or name.startswith("reasons.0")
    for name in ("test_auroc_low", "shortcut_dependence_mark_high", "export_int8_labels", "gate_f1"):
        assert differing(folder, metrics | {name: 0.9999}) == ([("MLflow", name)] if name in metrics else [])
    assert {"shortcut_dependence_mark_high", "test_auroc_low"} <= set(metrics)
    assert differing(folder, {key: value for key, value in metrics.items() if key != "test_auroc"}) == [
        ("MLflow", "test_auroc")
    ]


def test_every_metric_of_the_run_is_a_row(finished: Finished, folder: Path) -> None:
    metrics = logged(finished) | {"made_up": 0.5, "seconds": float("inf")}
    rows = [
        *recompute.recompute(folder, read_record(folder / WEIGHTS_ARTIFACT), metrics),
        *logged_metrics.compare_trained(metrics, None, reported_epochs(folder / REPORT)),
    ]
    found = {row.name: row for row in rows if row.part == "MLflow"}
    assert set(found) == set(metrics)
    assert len(rows) == len({(row.part, row.name) for row in rows}), "no row twice"
    without = {name: row.note for name, row in found.items() if row.verdict == "not recomputed"}
    assert without["learning_rate"] == without["validation_auroc"] == logged_metrics.BY_TRAINING
    assert without["made_up"] == logged_metrics.UNKNOWN
    assert "of the machine" in without["seconds"]
    epochs = ("val_loss", "auroc", "epoch", "best_epoch", "best_epoch_val_accuracy")
    assert {found[name].verdict for name in epochs} == {"equal"}, "the signed report has them"
    assert not [name for name in without if name.startswith(("test_", "gate_", "shortcut_", "export_", "calibration_"))]


def test_metrics_of_the_training_are_held_against_the_retraining() -> None:
    before, again = (
        {"val_loss": 0.99, "validation_auroc": 0.9, "auroc": 0.9},
        {"val_loss": 0.5, "validation_auroc": 0.9},
    )
    rows = {row.name: row.verdict for row in logged_metrics.compare_trained(before, again | {"validation_f1": 0.8}, {})}
    assert rows == {
        "val_loss": "differs", "validation_auroc": "equal", "auroc": "not recomputed", "validation_f1": "differs",
    }  # fmt: skip
    reported = {"val_loss": 0.9899, "auroc": 0.9}
    found = {row.name: row.verdict for row in logged_metrics.compare_trained(before, None, reported)}
    assert found == {"val_loss": "differs", "validation_auroc": "not recomputed", "auroc": "equal"}


def test_a_number_that_only_the_verdict_keeps_is_held_against_the_dossier(folder: Path) -> None:
    record = read_record(folder / WEIGHTS_ARTIFACT)
    verdict = json.loads((folder / recompute.VERDICT).read_text())
    dossier = json.loads((folder / recompute.DOSSIER).read_text())
    verdict["comparisons"] = {"the champion": {"auroc": {"value": 0.1, "low": 0.0, "high": 0.2}}}
    dossier["verdict"]["comparisons"] = {"the champion": {"auroc": {"value": 0.3, "low": 0.0, "high": 0.2}}}
    (folder / recompute.VERDICT).write_text(json.dumps(verdict))
    (folder / recompute.DOSSIER).write_text(json.dumps(dossier))
    found = {row.name for row in recompute.recompute(folder, record, {}) if row.part == recompute.DOSSIER}
    assert found == {"assessment", "verdict", "verdict.comparisons.the champion.auroc.value"}


def test_a_damaged_file_is_named_by_its_path_in_the_run(
    finished: Finished, version: models.Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(uri: str, run_id: str, folder: Path) -> dict[str, Path]:
        found = download_all(uri, run_id, folder)
        (folder / recompute.SCORES).write_text("a,b\n")
        return found

    monkeypatch.setattr(reproduce, "download_all", damaged)
    with pytest.raises(DataError) as caught:
        reproduce.reproduce_version(version_uri(finished), version)
    assert str(caught.value).startswith("report/scores.csv: ")


def test_scores_that_were_edited_contradict_every_file(finished: Finished, folder: Path) -> None:
    path = folder / recompute.SCORES
    lines = path.read_text().splitlines()
    at = lines[0].split(",").index("probability")
    row = lines[1].split(",")
    row[at] = repr(1 - float(row[at]))
    path.write_text("\n".join([lines[0], ",".join(row), *lines[2:]]) + "\n")
    parts = {part for part, _ in differing(folder, logged(finished))}
    assert parts == {recompute.VERDICT, recompute.ASSESSMENT, recompute.DOSSIER, "MLflow"}


def test_the_pipeline_lists_what_verify_checks(finished: Finished, version: models.Version) -> None:
    found = verify_version(version_uri(finished), version, finished.config.signing)
    assert found.passed, [check for check in found.checks if check.outcome == "failed"]
    assert {recompute.SCORES, recompute.SETTINGS, recompute.DOSSIER, WEIGHTS_ARTIFACT} <= {c.name for c in found.checks}


def test_the_recorded_number_of_threads_is_used_again(finished: Finished, tmp_path: Path) -> None:
    record = read_record(Path(finished.trained.weights))
    config = dict(record.config) | {"train": record.config["train"] | {"threads": 0}}
    free = record.model_copy(update={"config": config, "computed_with": ("CPU with AVX2, fp32, 12 threads",)})
    found = Config.model_validate(retraining.settings(free, "phantom", tmp_path))
    assert (found.train.threads, found.work, found.tracking.uri) == (12, str(tmp_path), "auto")
    given = record.model_copy(update={"computed_with": ("CPU with AVX2, fp32, 12 threads",)})
    assert retraining.settings(given, "phantom", tmp_path)["train"]["threads"] == 1, "as it was configured"


def test_what_another_kind_of_machine_may_change(finished: Finished) -> None:
    here = describe_here()
    record = read_record(Path(finished.trained.weights))
    computed = record.computed_with
    same = retraining.Machines(here, here)
    assert same.differences(computed, computed) == []
    other = here.model_copy(update={"features": ("another",), "libraries": here.libraries | {"numpy": "0"}})
    (processor, libraries) = retraining.Machines(other, here).differences(computed, computed)
    assert "this processor is another" in processor
    assert "numpy 0 there" in libraries
    assert "computed with x" in same.differences(computed, ["x"])[0]
    assert same.differences([*computed, "x"], computed), "a training that changed its device has no bits of its own"
    assert retraining.Machines(None, here).differences(computed, computed) == [
        "the machine of the training was not recorded"
    ]
    row = compare(retraining.RETRAINED, "weights_digest", "a", "b")
    assert retraining.expected(row, []).verdict == "differs"
    changed = retraining.expected(row, [processor])
    assert (changed.verdict, changed.note) == ("may differ", processor)
    assert retraining.expected(compare("", "", 1, 1), [processor]).verdict == "equal"
