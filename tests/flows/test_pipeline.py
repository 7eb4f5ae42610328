"""The Prefect flow on a real, temporary Prefect server."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError, SignatureMismatchError
from prefect.flow_engine import run_flow
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL
from prefect.states import State

from flows.deployments import document
from flows.pipeline import main, pipeline, retry_helps
from flows.prefect_server import check_server
from pneumonia.config.schema import Config
from pneumonia.errors import ConfigError, DataError, TrackingError, TrainingInterrupted
from tests.support.small import OPEN_GATE, SMALL, small

pytestmark = pytest.mark.usefixtures("_prefect")
ROOT = Path(__file__).parents[2]


def test_four_steps_with_artifacts_and_the_second_time_the_library_finds_them_done(work: Path) -> None:
    state: State = pipeline(small(work), return_state=True)
    trained, validation, promotion = state.result()
    assert promotion.promoted
    assert state.state_details.flow_run_id is not None
    runs, artifacts = _recorded(state.state_details.flow_run_id)
    assert set(runs) == {
        "prepare_data",
        "train_model",
        "export_model",
        "validate_model",
        "build_dossier",
        "promote_model",
    }
    assert set(runs.values()) == {"Completed"}
    assert {"audit", "report", "verdict", "train-model"} <= artifacts.keys()
    assert "Not a medical device" in artifacts["report"]
    assert {row["name"] for row in json.loads(artifacts["verdict"])} >= {"auroc", "sensitivity", "specificity"}
    assert float(artifacts["train-model"]) == 100

    again: State = pipeline(small(work), return_state=True)
    assert again.result() == (trained, validation, promotion)
    assert again.state_details.flow_run_id is not None
    runs, _ = _recorded(again.state_details.flow_run_id)
    assert set(runs.values()) == {"Completed"}, "the steps themselves find what is done, and say so"
    assert f"reusing the finished model {trained.key[:8]} of {trained.finished_at}" in _logged(
        again.state_details.flow_run_id
    )
    assert not list(work.glob("results/*"))


def test_a_model_whose_weights_are_gone_is_made_again(work: Path) -> None:
    first, _, _ = pipeline(small(work))
    Path(first.weights).unlink()
    again, _, _ = pipeline(small(work))
    assert Path(again.weights).is_file()
    assert again.weights_digest == first.weights_digest


def _logged(flow_run: UUID) -> str:
    """Return the lines of a flow run's log."""
    APILogHandler().flush()
    with get_client(sync_client=True) as client:
        found = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run])))
    return "\n".join(entry.message for entry in found)


def _recorded(flow_run: UUID) -> tuple[dict[str, str], dict[str, str]]:
    """Return the state of each task run, by the step's name, and the data of each artifact, by its key."""
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]))
        )
    return (
        {run.name.rpartition("-")[0]: run.state_name or "" for run in runs},
        {artifact.key or "": str(artifact.data) for artifact in artifacts},
    )


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TrackingError("away"), True),
        (OSError(errno.ENOSPC, "disk"), True),
        (FileNotFoundError(errno.ENOENT, "gone", "weights"), False),
        (PermissionError(errno.EACCES, "denied", "weights"), False),
        (TrainingInterrupted("stopped"), False),
        (KeyboardInterrupt(), False),
        (DataError("bad"), False),
        (ConfigError("bad"), False),
    ],
    ids=repr,
)
def test_only_what_waiting_can_mend_is_tried_again(error: BaseException, again: bool) -> None:
    class Failed:
        def result(self) -> None:
            raise error

    assert retry_helps(None, None, Failed()) is again


def test_a_surprise_is_one_message_and_a_file_with_the_traceback(
    work: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr("tasks.prepare_data.prepare_data", broken)
    with pytest.raises(SystemExit) as left:
        main(settings=[*SMALL, f"work={work}"])
    told = capfd.readouterr()
    (log,) = (work / "logs").iterdir()
    assert left.value.code == 70
    (line,) = [line for line in told.err.splitlines() if "mistake" in line]
    assert line.startswith("error: ZeroDivisionError: a mistake. The traceback is in ")
    assert str(log) in line
    assert "Traceback" not in told.err + told.out
    assert "in broken" in log.read_text()


def test_deployments_follow_the_profiles() -> None:
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert written == document(), "write it anew: python flows/deployments.py > prefect.yaml"
    for deployment in written["deployments"]:
        Config.model_validate(deployment["parameters"]["config"])


def test_run_form_is_made_from_the_schema() -> None:
    schema = pipeline.parameters.model_dump()
    text = json.dumps(schema)
    for words in ("Peak learning rate", "Share of the training patients", "minimum of the AUROC"):
        assert words in text


@pytest.fixture(scope="module")
def deployed() -> UUID:
    return pipeline.to_deployment("refusals").apply()


def triggered(deployment: UUID, parameters: dict[str, Any]) -> None:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        run_flow(pipeline, flow_run=client.read_flow_run(run.id))


@pytest.mark.parametrize("name", ["aproval", "Fresh"])
def test_an_unknown_parameter_is_refused_before_anything_runs(deployed: UUID, work: Path, name: str) -> None:
    with pytest.raises(SignatureMismatchError, match=name):
        triggered(deployed, {"config": small(work).model_dump(mode="json"), name: True})
    assert sorted(path.name for path in work.iterdir()) == ["mlflow.db"]


def test_an_unknown_setting_is_refused_when_the_run_is_triggered(deployed: UUID, work: Path) -> None:
    tree = small(work).model_dump(mode="json")
    tree["train"]["epoch"] = 3
    with pytest.raises(PrefectHTTPStatusError, match=r"config\.train.*'epoch' was unexpected"):
        triggered(deployed, {"config": tree})
    with pytest.raises(ParameterTypeError, match=r"config\.train\.epoch: unknown key; did you mean epochs\?"):
        pipeline(config=tree)
    assert sorted(path.name for path in work.iterdir()) == ["mlflow.db"]


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_API_URL")}
    return subprocess.run(
        [sys.executable, str(ROOT / "flows" / "pipeline.py"), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"settings": ["train.epoch=3"]}, 2, "train.epoch"),
        ({"settings": ["train.epochs=0"]}, 2, "train.epochs"),
        ({"profile": "best"}, 2, "fast, full"),
        ({"file": Path("none.toml")}, 2, "none.toml"),
        ({"data": "nowhere"}, 1, "nowhere"),
        ({"settings": ["tracking.uri=http://127.0.0.1:9"]}, 1, "127.0.0.1:9"),
    ],
)
def test_wrong_use_gets_one_message(
    options: dict[str, Any],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(**options)
    assert left.value.code == code
    told = capsys.readouterr()
    assert words in told.err
    assert "error: " in told.err
    assert "Traceback" not in told.err + told.out


def test_a_prefect_server_that_works_passes() -> None:
    check_server(PREFECT_API_URL.value())


def test_data_that_cannot_be_used_end_without_a_traceback(work: Path) -> None:
    (work / "images" / "train" / "NORMAL").mkdir(parents=True)
    done = command("--data", "images", "--set", f"work={work}", cwd=work)
    assert done.returncode == 1
    assert "PNEUMONIA" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_command_line_runs_the_flow(work: Path) -> None:
    arguments = [word for setting in (*SMALL, *OPEN_GATE) for word in ("--set", setting)]
    done = command(*arguments, "--set", f"work={work}", cwd=work)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("Data: phantoms")
    for words in ("AUROC", "95 % interval", "champion, version 1", "report.md", "make ui", "Not a medical device"):
        assert words in done.stdout


def test_deployments_are_made_and_a_worker_runs_one(tmp_path: Path, work: Path) -> None:
    """`prefect deploy --all` from a copy of the project, then one run by a process worker with the form's values."""
    copy = tmp_path / "project"
    for folder in ("flows", "tasks", "pneumonia"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.yaml", copy)
    # spelt out, since the harness moves the settings of this process alone
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_HOME": str(tmp_path / "home"),
    }

    def prefect(*arguments: str) -> str:
        run = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(run, cwd=copy, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    prefect("work-pool", "create", "--type", "process", "pneumonia")
    prefect("deploy", "--all")
    config = small(work).model_dump_json()
    name = "pneumonia-pipeline/phantom"
    prefect("deployment", "run", name, "--params", f'{{"config": {config}, "fresh": false}}')
    told = prefect("worker", "start", "--pool", "pneumonia", "--run-once")
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=["phantom"])))
    assert [run.state_name for run in runs] == ["Completed"], told
