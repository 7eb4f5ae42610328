"""`pneumonia reproduce` on a finished pipeline: the same bits again, and a number that was edited by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pneumonia.config.schema import Config
from pneumonia.evidence import recompute, reproduce, retraining
from pneumonia.evidence.machine import describe_here
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
    found = reproduce.reproduce_version(version_uri(finished), version, retrain=True, repository=repository)
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
        (recompute.DOSSIER, "assessment.metrics.auroc.value"),
        ("MLflow", "test_auroc_low"),
    ):
        assert names[claim].verdict == "equal"
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
    assert differing(folder, metrics | {"test_auroc_low": 0.9999}) == [("MLflow", "test_auroc_low")]


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
