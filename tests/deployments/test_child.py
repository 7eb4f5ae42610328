"""A step's own process: what the form says, how it ends, and that it ends with its task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pneumonia.config.resolve import resolve
from pneumonia.errors import ConfigError
from tests.deployments.stack import DAGS
from tests.support.loaded import loaded

# One worker reads the DAG files, once.
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def child() -> Any:
    return loaded(DAGS / "pneumonia_airflow/child.py")


def script(folder: Path, body: str) -> Path:
    path = folder / "script.py"
    path.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(DAGS)!r})\n"
        "from pneumonia_airflow import child\n"
        "from pneumonia import errors\n"
        "with child.step('train_model') as progress:\n" + textwrap.indent(textwrap.dedent(body), "    ")
    )
    return path


def run(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    (folder / "work").mkdir()
    return subprocess.run(
        [sys.executable, script(folder, body)],
        env={**os.environ, "PNEUMONIA_WORK": str(folder / "work")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


FORM = {"approval": True, "fresh": False, "train.epochs": None, "train.seed": 7, "preprocess.equalize": True}


def assigned(child: Any, conf: dict[str, Any] | None) -> list[str]:
    """What a run with this configuration sets; Airflow lays it over the form, unknown names included."""
    found: list[str] = child.assignments(json.dumps({**FORM, **(conf or {})}), json.dumps(conf))
    return found


@pytest.mark.parametrize("conf", [None, {}, FORM])
def test_a_field_left_empty_is_not_set(child: Any, conf: dict[str, Any] | None) -> None:
    assert assigned(child, conf) == ["train.seed=7", "preprocess.equalize=true"]
    config = resolve("fast", assignments=assigned(child, conf), environment={})
    assert config.train.seed == 7
    assert config.preprocess.equalize is True


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"aproval": True}, "aproval: unknown key; did you mean approval?"),
        ({"Fresh": True}, "Fresh: unknown key; did you mean fresh?"),
        ({"epochs": 3}, "epochs: unknown key; did you mean train.epochs?"),
        ({"train": {"epoch": 3}}, "train.epoch: unknown key; did you mean train.epochs?"),
        ({"train": 3}, "train: unknown key"),
        ({"train.epochs": {"more": 3}, "x": None}, "x: unknown key"),
        ({"work": "/elsewhere"}, "work: unknown key"),
        ({"train.epochs": 3, "train": {"epochs": 4}}, "train.epochs: is set twice"),
    ],
)
def test_a_mistyped_key_is_refused_with_the_nearest(child: Any, conf: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        assigned(child, conf)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_setting_may_be_nested(child: Any) -> None:
    conf = {"train": {"epochs": 3, "seed": None, "class_weights": False}, "gate": {}}
    given = assigned(child, conf)
    assert given == ["train.seed=7", "preprocess.equalize=true", "train.epochs=3", "train.class_weights=false"]


@pytest.mark.parametrize("conf", [{"aproval": True}, {"train": {"epoch": 3}}])
def test_the_first_step_ends_before_anything_is_made(
    dags: dict[str, Any], tmp_path: Path, conf: dict[str, Any]
) -> None:
    """The DAG's own function, with what Airflow renders for it, in a process of the library's Python."""
    step = dags["pneumonia_pipeline_fast"]["tasks"]["prepare_data"]
    assert "dag_run.conf | tojson" in step["arguments"][2]
    given = ("fast", json.dumps({**FORM, **conf}), json.dumps(conf))
    (tmp_path / "step.py").write_text(
        f"import sys\nsys.path.insert(0, {str(DAGS)!r})\n{step['source']}\nprepare_data(*{given!r})\n"
    )
    environment = {**os.environ, "PNEUMONIA_WORK": str(tmp_path / "work")}
    done = subprocess.run(
        [sys.executable, tmp_path / "step.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 65, done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("error: ")
    assert "did you mean" in line
    assert not (tmp_path / "work").exists()


def test_an_address_is_the_one_that_a_browser_knows(child: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("MLFLOW_PUBLIC_URL", "http://127.0.0.1:5999/")
    assert child.public("http://mlflow:5000/#/experiments/1/runs/a") == "http://127.0.0.1:5999/#/experiments/1/runs/a"
    assert child.public(None) is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("errors.TrackingError('http://mlflow:5000: no answer')", 75),
        ("errors.TrackingError('the login is refused', permanent=True)", 65),
        ("errors.TrainingInterrupted('stopped in epoch 2')", 143),
        ("KeyboardInterrupt()", 130),
        ("OSError(28, 'No space left on device')", 75),
        ("FileNotFoundError(2, 'No such file or directory', 'weights.safetensors')", 70),
        ("PermissionError(13, 'Permission denied', 'weights.safetensors')", 70),
        ("errors.DataError('images/x.jpeg: truncated')", 65),
        ("errors.ConfigError('train.epochs: 0')", 65),
        ("ValueError('a mistake in the code')", 70),
    ],
)
def test_a_failure_ends_with_a_telling_status_and_one_line(tmp_path: Path, error: str, status: int) -> None:
    done = run(tmp_path, f"raise {error}")
    assert done.returncode == status, done.stdout
    (line,) = done.stdout.splitlines()
    assert line.startswith(("error: ", "stopped"))
    described = error.startswith(("errors.", "KeyboardInterrupt"))
    logs = list((tmp_path / "work/logs").glob("*"))
    assert len(logs) == (0 if described else 1)
    if logs:
        assert str(logs[0]) in line
        assert "Traceback" in logs[0].read_text()


def test_an_error_that_the_user_can_mend_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "raise errors.DataError('images/x.jpeg: truncated')")
    assert done.stdout == "error: images/x.jpeg: truncated\n"


def test_progress_is_a_line_where_something_is_new(tmp_path: Path) -> None:
    done = run(tmp_path, "for step in range(100):\n    progress(step, 100, f'epoch {1 + step // 50}/2')")
    assert done.stdout.splitlines() == ["train_model   0 % epoch 1/2", "train_model  50 % epoch 2/2"]


def test_worker_processes_do_not_run_the_step_again(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import concurrent.futures, math, multiprocessing
        print("once", flush=True)
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            print(list(pool.map(math.sqrt, [4.0, 9.0])))
        """,
    )
    assert done.stdout.splitlines() == ["once", "[2.0, 3.0]"], done.stdout


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[int]:
    """A step's process whose parent has been killed."""
    body = "print('ready', flush=True)\ntime.sleep(60)"
    start = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True); p.wait()"
    parent = subprocess.Popen(
        [sys.executable, "-c", start, sys.executable, script(tmp_path, body)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    try:
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        parent.wait(10)
        yield pid
    finally:
        parent.stdout.close()
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_it_ends_with_its_parent_however_that_ends(orphan: int) -> None:
    end = time.monotonic() + 10
    while alive(orphan) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive(orphan)
