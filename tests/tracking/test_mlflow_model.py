"""The logged model."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pneumonia.config.schema import Config
from pneumonia.tracking import mlflow_model
from pneumonia.tracking.client import mlflow_client
from pneumonia.tracking.run import Run
from tests.support.runs import settings


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


def test_the_model_has_a_signature_and_no_pickle(tracked: Config, key: str, tmp_path: Path) -> None:
    import mlflow.pyfunc

    run = Run.open(tracked, key, "name", {})
    network = Small().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    example = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)
    uri = run.log_model(network, example, {"name": "small"})
    run.finish()

    found = mlflow_client(run.uri).get_run(run.id)
    assert [output.model_id for output in found.outputs.model_outputs] == [uri.removeprefix("models:/")]
    model = mlflow_client(run.uri).get_logged_model(uri.removeprefix("models:/"))
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
    assert len(mlflow_client(run.uri).search_logged_models([run._experiment])) == 1


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_other_weights_are_another_model(work: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    example = np.zeros((2, 3, 16, 16), np.float32)
    one, two = (run.log_model(Small(), example, {"weights_digest": digest}) for digest in ("ab", "cd"))
    assert one != two
    assert run.log_model(Small(), example, {"weights_digest": "cd"}) == two


def test_nothing_process_wide_is_touched(tracked: Config, key: str) -> None:
    import mlflow

    before = (mlflow.get_tracking_uri(), mlflow.active_run())
    run = Run.open(tracked, key, "name", {})
    run.log_model(Small(), np.zeros((2, 3, 16, 16), np.float32), {})
    run.finish()
    assert (mlflow.get_tracking_uri(), mlflow.active_run()) == before
