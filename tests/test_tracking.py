"""Runs: reopened, complete, quiet."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from mlflow_server import Server, Wire, free_port
from torch import nn

from pneumonia import mlflow_model, probe, store, tracking
from pneumonia.config import Config, TrackingConfig
from pneumonia.errors import TrackingError
from pneumonia.tracking import Run

EPOCHS = [{"epoch": step, "val_loss": 1 / step, "val_accuracy": 0.5} for step in (1, 2, 3, 4)]


def settings(work: Path, uri: str = "auto", system_metrics: bool = False) -> Config:
    return Config(work=str(work), tracking=TrackingConfig(uri=uri, system_metrics=system_metrics))


@pytest.fixture(params=["sqlite", "http"])
def config(request: pytest.FixtureRequest) -> Config:
    work = request.getfixturevalue("work")
    return settings(work, request.getfixturevalue("mlflow_server") if request.param == "http" else "auto")


@pytest.fixture
def wire(mlflow_server: str) -> Iterator[Wire]:
    wire = Wire(urlsplit(mlflow_server).port or 0)
    wire.mend()
    yield wire
    wire.cut()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return request.node.name  # the server is the session's, the key is not


def steps(run: Run, metric: str = "val_loss") -> list[int]:
    return [entry.step for entry in store.client(run.uri).get_metric_history(run.id, metric)]


def status(run: Run) -> str:
    return str(store.client(run.uri).get_run(run.id).info.status)


# --- a run, from its beginning to its end


def test_a_run_holds_what_was_logged(config: Config, key: str, tmp_path: Path) -> None:
    run = Run.open(config, key, "a name", {"mlflow.note.content": "a note"})
    run.log_parameters(config.model_dump())
    run.log_dataset("phantom", "ab" * 32, "/films", {"train": 3})
    assert run.log_epochs(EPOCHS[:2])
    run.log_figures({"auroc": SimpleNamespace(value=0.9, low=0.8, high=1.0)})
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "figures.json").write_text('{"auroc": 0.9}')
    run.log_folder(tmp_path / "report", "report")
    run.log_file(tmp_path / "report" / "figures.json", "figures")
    run.finish()

    found = store.client(run.uri).get_run(run.id)
    assert not run.reopened
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "a name"
    assert found.data.tags["mlflow.note.content"] == "a note"
    assert found.data.params["train.learning_rate"] == "0.001"
    assert found.data.metrics["val_loss"] == 0.5
    assert {name: found.data.metrics[f"test_auroc{name}"] for name in ("", "_low", "_high")} == {
        "": 0.9, "_low": 0.8, "_high": 1.0,
    }  # fmt: skip
    (entry,) = found.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("phantom", ("ab" * 32)[:36])
    assert json.loads(entry.dataset.profile) == {"train": 3}
    assert tracking.load_json(run.uri, run.id, "report/figures.json") == {"auroc": 0.9}
    assert tracking.download(run.uri, run.id, "figures", tmp_path / "back").is_dir()


def test_the_pages_address(config: Config, key: str) -> None:
    run = Run.open(config, key, "name", {})
    if run.uri.startswith("http"):
        assert run.url is not None
        assert run.url.startswith(run.uri)
        assert run.id in run.url
    else:
        assert run.url is None


def test_files_lie_in_the_work_folder_with_sqlite(work: Path, tmp_path: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    (tmp_path / "note").write_text("x")
    run.log_file(tmp_path / "note", "notes")
    assert list((work / "artifacts").rglob("note"))


def test_everything_twice_is_there_once(config: Config, key: str) -> None:
    run = Run.open(config, key, "name", {})
    for _ in range(2):
        run.log_parameters({"a": {"b": 1}})
        run.log_dataset("phantom", "digest", "/films", {})
        run.log_epochs(EPOCHS)
        run.log_metrics({"test_auroc": 0.9})
    assert steps(run) == [1, 2, 3, 4]
    assert len(steps(run, "test_auroc")) == 1
    assert len(store.client(run.uri).get_run(run.id).inputs.dataset_inputs) == 1


# --- reopened


def test_an_unfinished_run_is_reopened_and_completed(config: Config, key: str) -> None:
    killed = Run.open(config, key, "name", {"attempt": "1"})
    killed.log_parameters({"train": {"epochs": 4}})
    killed.log_epochs(EPOCHS[:2])  # and here it is killed: the run stays RUNNING

    run = Run.open(config, key, "name", {"attempt": "2"})
    run.log_parameters({"train": {"epochs": 4, "seed": 0}})
    assert run.log_epochs(EPOCHS)
    run.finish()

    found = store.client(run.uri).get_run(run.id)
    assert run.reopened
    assert run.id == killed.id
    assert steps(run) == [1, 2, 3, 4]
    assert found.data.tags["attempt"] == "2"
    assert found.data.params == {"train.epochs": "4", "train.seed": "0"}
    assert found.info.status == "FINISHED"


@pytest.mark.parametrize("ending", ["KILLED", "FAILED"])
def test_a_failed_run_is_reopened(work: Path, ending: str) -> None:
    failed = Run.open(settings(work), "key", "name", {})
    failed.finish(ending)
    assert status(failed) == ending
    run = Run.open(settings(work), "key", "name", {})
    assert run.id == failed.id
    assert status(run) == "RUNNING"


def test_a_finished_run_and_another_key_are_left_alone(work: Path) -> None:
    first = Run.open(settings(work), "key", "name", {})
    other = Run.open(settings(work), "another key", "name", {})
    first.finish()
    again = Run.open(settings(work), "key", "name", {})
    assert len({first.id, other.id, again.id}) == 3
    assert not again.reopened


def test_a_changed_parameter_is_told_and_left(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.open(settings(work), "key", "name", {})
    run.log_parameters({"train": {"epochs": 4}})
    run.log_parameters({"train": {"epochs": 5}})
    assert store.client(run.uri).get_run(run.id).data.params["train.epochs"] == "4"
    assert "train.epochs" in caplog.text


def test_a_run_is_gone_on_with_by_its_id(work: Path) -> None:
    begun = Run.open(settings(work), "key", "name", {})
    begun.finish()
    run = Run.attach(begun.uri, begun.id)
    assert status(run) == "RUNNING"
    run.finish()
    assert status(run) == "FINISHED"


def test_reads_of_the_test_labels_are_counted_across_runs(work: Path) -> None:
    first, second = (Run.open(settings(work), key, "name", {}) for key in ("a", "b"))
    assert [first.count_test_read("x"), first.count_test_read("x"), second.count_test_read("x")] == [1, 2, 3]
    assert second.count_test_read("other data") == 1


def test_a_run_exists_until_it_is_deleted(work: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    assert tracking.exists(run.uri, run.id)
    store.client(run.uri).delete_run(run.id)
    assert not tracking.exists(run.uri, run.id)
    assert not tracking.exists(run.uri, "0" * 32)


def test_a_deleted_experiment_is_told(work: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    client = store.client(run.uri)
    client.delete_experiment(client.get_run(run.id).info.experiment_id)
    with pytest.raises(TrackingError, match=r"was deleted.*mlflow experiments restore"):
        Run.open(settings(work), "key", "name", {})


# --- outages


def test_no_epoch_is_lost_or_doubled_while_the_server_is_away(
    wire: Wire, work: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.open(settings(work, wire.url), key, "name", {})
    assert run.log_epochs(EPOCHS[:1])
    wire.cut()
    start = time.monotonic()
    assert not run.log_epochs(EPOCHS[:2])
    assert not run.log_epochs(EPOCHS[:3])
    assert time.monotonic() - start < 10
    assert "Connection refused" in caplog.text
    assert "2 epoch(s) are kept" in caplog.text
    wire.mend()
    assert run.log_epochs(EPOCHS)
    run.finish()
    assert steps(run) == [1, 2, 3, 4]


def test_an_epoch_whose_answer_was_lost_is_there_once(wire: Wire, work: Path, key: str) -> None:
    run = Run.open(settings(work, wire.url), key, "name", {})
    assert run.log_epochs(EPOCHS[:1])
    wire.loses_answers = True
    assert not run.log_epochs(EPOCHS[:2])
    wire.loses_answers = False
    assert steps(run) == [1, 2]  # the server had acted on it
    assert run.log_epochs(EPOCHS[:3])
    assert steps(run) == [1, 2, 3]
    assert steps(run, "epoch") == [1, 2, 3]


def test_flush_waits_for_the_server(wire: Wire, work: Path, key: str) -> None:
    run = Run.open(settings(work, wire.url), key, "name", {})
    wire.cut()
    run.log_epochs(EPOCHS)
    with pytest.raises(TrackingError, match=rf"{wire.url}.*4 epoch"):
        run.flush(timeout=0.6)
    wire.mend()
    run.flush(timeout=10)
    assert steps(run) == [1, 2, 3, 4]


def test_flush_does_not_wait_where_waiting_does_not_help(work: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    store.client(run.uri).delete_run(run.id)
    assert not run.log_epochs(EPOCHS)
    start = time.monotonic()
    with pytest.raises(TrackingError, match="deleted"):
        run.flush(timeout=30)
    assert time.monotonic() - start < 5


def test_a_failed_run_never_hides_its_error(wire: Wire, work: Path, key: str, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.open(settings(work, wire.url), key, "name", {})
    wire.cut()
    run.finish("FAILED")
    assert "stays open" in caplog.text


@pytest.mark.slow
def test_a_server_that_is_stopped_and_started_again(tmp_path: Path, work: Path, mlflow_database: Path) -> None:
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    server = Server(tmp_path)
    try:
        server.start()
        run = Run.open(settings(work, server.url), "key", "name", {})
        assert run.log_epochs(EPOCHS[:1])
        server.stop()
        assert not run.log_epochs(EPOCHS[:3])
        server.start()
        run.log_epochs(EPOCHS)
        run.finish()
        assert steps(run) == [1, 2, 3, 4]
    finally:
        server.stop()


# --- is the store usable?


class Answer:
    """A server that is no MLflow server: it says the same to everyone."""

    def __init__(self, status: int, body: str) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        from threading import Thread

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if "Authorization" not in self.headers else 200)
                content = (body if "Authorization" not in self.headers else '{"experiments": []}').encode()
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, "<h1>Not found</h1>", "not an MLflow server"),
        (200, "<h1>Welcome</h1>", "not an MLflow server"),
        (200, '{"hits": 3}', "not an MLflow server"),
        (401, "who are you?", "MLFLOW_TRACKING_USERNAME"),
        (403, "Invalid Host header - possible DNS rebinding attack", "--allowed-hosts"),
        (403, "Permission denied", "forbids"),
        (502, "Bad gateway", "HTTP 502"),
    ],
)
def test_a_server_of_another_kind_is_told(status: int, body: str, told: str) -> None:
    with Answer(status, body) as server, pytest.raises(TrackingError, match=told) as caught:
        tracking.check(server.url)
    assert server.url in str(caught.value)
    assert "tracking.uri" in str(caught.value)


def test_the_login_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    with Answer(401, "who are you?") as server:
        tracking.check(server.url)


def test_the_login_is_read_from_mlflows_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = 100%\n"
    )
    with Answer(401, "who are you?") as server:
        tracking.check(server.url)


def test_a_working_server_passes(mlflow_server: str) -> None:
    tracking.check(mlflow_server)


def test_an_unreachable_server_is_told_quickly(work: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    start = time.monotonic()
    with pytest.raises(TrackingError, match="Connection refused") as caught:
        Run.open(settings(work, url), "key", "name", {})
    assert time.monotonic() - start < 6
    assert url in str(caught.value)
    assert "MLFLOW_TRACKING_URI" in str(caught.value)


def test_a_server_that_never_answers_is_told_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.SECONDS <= 5
    monkeypatch.setattr(probe, "SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(TrackingError, match=r"no answer|timed out"):
            tracking.check(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - start < 2


def test_passwords_are_not_shown() -> None:
    with pytest.raises(TrackingError) as caught:
        tracking.check(f"http://me:secret@127.0.0.1:{free_port()}")
    assert "secret" not in str(caught.value)


def test_a_database_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TrackingError, match=r"cannot be written.*--set work=DIR"):
        tracking.check(f"sqlite:///{tmp_path}/file/mlflow.db")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("a text, long enough to be taken for a database")
    with pytest.raises(TrackingError, match="not an SQLite database"):
        tracking.check(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:"])
def test_stores_that_mlflow_has_not_are_told(uri: str) -> None:
    with pytest.raises(TrackingError, match="sqlite:////"):
        tracking.check(uri)


def test_an_old_database_names_the_upgrade(work: Path) -> None:
    connection = sqlite3.connect(work / "mlflow.db")
    connection.execute("update alembic_version set version_num = '27a6a02d2cf1'")
    connection.commit()
    connection.close()
    with pytest.raises(TrackingError, match="mlflow db upgrade"):
        Run.open(settings(work), "key", "name", {})


def test_the_uri(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert tracking.tracking_uri(settings(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking.tracking_uri(settings(tmp_path)) == "http://server:5000"
    assert tracking.tracking_uri(settings(tmp_path, "sqlite:////x/mlflow.db")) == "sqlite:////x/mlflow.db"


# --- the model


class Small(nn.Module):
    """Three channels in, two out, for films of any number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3)
        self.last = nn.Linear(4, 2)

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.last(self.first(films).relu().mean((2, 3)))
        return pooled


def test_the_model_has_a_signature_and_no_pickle(config: Config, key: str, tmp_path: Path) -> None:
    import mlflow.pyfunc

    run = Run.open(config, key, "name", {})
    network = Small().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    example = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)
    uri = run.log_model(network, example, {"name": "small"})
    run.finish()

    found = store.client(run.uri).get_run(run.id)
    assert [output.model_id for output in found.outputs.model_outputs] == [uri.removeprefix("models:/")]
    model = store.client(run.uri).get_logged_model(uri.removeprefix("models:/"))
    assert str(model.status) == "READY"
    folder = download_model(run, model.artifact_location, tmp_path / "model")
    assert not list(folder.rglob("*example*"))
    assert not pickles(folder)
    assert "torch==2.13.0\n" in (folder / "requirements.txt").read_text() + "\n"
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert loaded.metadata.metadata == {"name": "small"}
    films = np.random.default_rng(1).random((5, 3, 16, 16), dtype=np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(loaded.predict(films), network(torch.from_numpy(films)).numpy(), rtol=1e-5)


def download_model(run: Run, location: str, folder: Path) -> Path:
    import mlflow.artifacts

    folder.mkdir()
    return Path(mlflow.artifacts.download_artifacts(location, dst_path=str(folder), tracking_uri=run.uri))


def pickles(folder: Path) -> list[str]:
    """Files, also inside archives, that begin as a pickle does, or hold one in a zip of their own."""
    found = []
    for path in folder.rglob("*"):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                contents = {name: archive.read(name) for name in archive.namelist()}
        else:
            contents = {path.name: path.read_bytes()} if path.is_file() else {}
        starts = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
        found += [name for name, content in contents.items() if content.startswith(starts) or name.endswith(".pkl")]
    return found


def test_the_search_for_pickles_finds_one(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pt")
    assert pickles(tmp_path)


def test_a_model_is_logged_once(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(settings(work), "key", "name", {})
    example = np.zeros((2, 3, 16, 16), np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_model, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.log_model(Small(), example, {})
    first = run.log_model(Small(), example, {})
    assert Run.open(settings(work), "key", "name", {}).log_model(Small(), example, {}) == first
    assert len(store.client(run.uri).search_logged_models([run._experiment])) == 1


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


# --- the machine, the terminal


def test_system_metrics_go_on_where_they_ended(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    lengths = []
    for _ in range(2):
        run = Run.open(settings(work, system_metrics=True), "key", "name", {})
        wait_for_samples(run, sum(lengths) + 2)
        run.finish("KILLED")
        lengths.append(len(steps(run, "system/cpu_utilization_percentage")))
    taken = steps(run, "system/cpu_utilization_percentage")
    assert taken == list(range(len(taken)))
    assert "system/system_memory_usage_megabytes" in store.client(run.uri).get_run(run.id).data.metrics


def wait_for_samples(run: Run, count: int) -> None:
    end = time.monotonic() + 30
    while len(steps(run, "system/cpu_utilization_percentage")) < count:
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_new_database_is_made_without_a_word(tmp_path: Path) -> None:
    program = (
        "import logging, sys; logging.basicConfig(level=logging.INFO)\n"
        "from pneumonia.config import Config\n"
        "from pneumonia.tracking import Run\n"
        "run = Run.open(Config(work=sys.argv[1]), 'key', 'name', {})\n"
        "run.log_epochs([{'epoch': 1, 'val_loss': 0.5}])\n"
        "run.finish()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "new")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "new" / "mlflow.db").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]  # no mlruns, no second database


def test_nothing_process_wide_is_touched(config: Config, key: str) -> None:
    import mlflow

    before = (mlflow.get_tracking_uri(), mlflow.active_run())
    run = Run.open(config, key, "name", {})
    run.log_model(Small(), np.zeros((2, 3, 16, 16), np.float32), {})
    run.finish()
    assert (mlflow.get_tracking_uri(), mlflow.active_run()) == before
