"""The champion is followed: swapped as a whole, refused where it fails, and kept while the registry is away."""

from __future__ import annotations

import gc
import logging
import shutil
import weakref
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from pneumonia.errors import TrackingError
from pneumonia.records.export import REFERENCE
from pneumonia.registry.mirror import Champion
from pneumonia.serving import follower as module
from pneumonia.serving.follower import Follower
from pneumonia.serving.metrics import Metrics
from tests.support.serving import FakeReader, champion_of, film, new_follower

AWAY = TrackingError("http://mlflow: could not look up the champion")


@pytest.fixture
def reader(exports: Path) -> FakeReader:
    found = FakeReader(exports)
    found.now = champion_of(exports, 1)
    return found


def version(follower: Follower) -> str | None:
    return follower.current.champion.version if follower.current else None


def counted(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"pneumonia_{name}_total")


def damaged(exports: Path, folder: Path, **shift: float) -> Path:
    """A copy of version 2 whose known answers are shifted, or which has none."""
    shutil.copytree(exports / "2", folder)
    arrays = load_file(folder / REFERENCE)
    for key in list(arrays):
        if key.startswith("sample_logits"):
            if shift:
                arrays[key] = arrays[key] + shift["by"]
            else:
                del arrays[key]
    save_file(arrays, folder / REFERENCE)
    return folder


def test_a_new_champion_is_put_to_use_as_a_whole(reader: FakeReader) -> None:
    follower, metrics = new_follower(reader)
    follower.look()
    first = follower.current
    assert first is not None
    reader.now = champion_of(reader.exports, 2)
    follower.look()
    assert version(follower) == "2"
    assert first.champion.version == "1"  # whoever took it answers from it to the end
    assert first.model.answer(film()).outputs is not None
    assert counted(metrics, "model_swaps") == 2
    labels = {"name": reader.now.name, "version": "2", "precision": "fp32", "phantom": "true"}
    assert follower.current is not None
    labels |= {
        "weights_digest": follower.current.model.record.weights_digest,
        "precision": follower.current.model.precision,
    }
    assert metrics.registry.get_sample_value("pneumonia_model_info", labels) == 1


def test_the_same_champion_is_loaded_once(reader: FakeReader) -> None:
    follower, _ = new_follower(reader)
    for _ in range(3):
        follower.look()
    assert reader.fetched == 1


def test_a_changed_card_needs_no_other_model(reader: FakeReader) -> None:
    follower, _ = new_follower(reader)
    follower.look()
    assert follower.current is not None
    model = follower.current.model
    assert reader.now is not None
    reader.now = reader.now.model_copy(update={"measured_on": "release set"})
    follower.look()
    assert follower.current.model is model
    assert follower.current.champion.measured_on == "release set"
    assert reader.fetched == 1


def test_the_memory_of_the_old_model_is_released(reader: FakeReader) -> None:
    follower, _ = new_follower(reader)
    follower.look()
    assert follower.current is not None
    old = weakref.ref(follower.current.model)
    reader.now = champion_of(reader.exports, 2)
    follower.look()
    gc.collect()
    assert old() is None


@pytest.mark.parametrize("by", [0.1, -0.1, float("nan"), None])
def test_a_champion_that_answers_otherwise_is_refused(
    reader: FakeReader, tmp_path: Path, caplog: pytest.LogCaptureFixture, by: float | None
) -> None:
    follower, metrics = new_follower(reader)
    follower.look()
    reader.folders["2"] = damaged(reader.exports, tmp_path / "2", **({} if by is None else {"by": by}))
    reader.now = champion_of(reader.exports, 2)
    follower.look()
    assert version(follower) == "1"
    assert counted(metrics, "model_swap_failures") == 1
    assert "version 2 of" in caplog.text
    assert "version 1 goes on" in caplog.text


def test_a_refused_champion_is_tried_again_after_a_growing_while(
    reader: FakeReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    follower, metrics = new_follower(reader)
    reader.folders["2"] = damaged(reader.exports, tmp_path / "2")
    reader.now = champion_of(reader.exports, 2)
    tries = []
    for second in range(0, 400, 10):
        now[0] = float(second)
        follower.look()
        tries.append(counted(metrics, "model_swap_failures"))
    assert [10 * at for at in range(1, 40) if tries[at] != tries[at - 1]] == [60, 180]
    assert "refused" in follower.why
    del reader.folders["2"]  # repaired
    now[0] = 1000
    follower.look()
    assert version(follower) == "2"
    assert follower.why == ""


def test_another_champion_is_tried_at_once(reader: FakeReader, tmp_path: Path) -> None:
    follower, _ = new_follower(reader)
    reader.folders["2"] = damaged(reader.exports, tmp_path / "2")
    reader.now = champion_of(reader.exports, 2)
    follower.look()
    reader.now = champion_of(reader.exports, 1)
    follower.look()
    assert version(follower) == "1"


def test_a_record_of_another_model_is_refused(reader: FakeReader) -> None:
    follower, _ = new_follower(reader)
    reader.now = champion_of(reader.exports, 2)
    reader.folders["2"] = reader.exports / "1"
    follower.look()
    assert follower.current is None
    assert "another model" in follower.why


def test_a_version_without_an_export_says_how_to_make_one(reader: FakeReader) -> None:
    follower, _ = new_follower(reader)
    assert reader.now is not None
    reader.now = reader.now.model_copy(update={"export_digest": ""})
    follower.look()
    assert "pneumonia export" in follower.why


def test_a_graph_that_cannot_be_run_is_refused(reader: FakeReader, tmp_path: Path) -> None:
    follower, _ = new_follower(reader)
    shutil.copytree(reader.exports / "2", tmp_path / "2")
    for file in (tmp_path / "2").glob("*.onnx"):
        file.write_bytes(b"no graph")
    reader.folders["2"] = tmp_path / "2"
    reader.now = champion_of(reader.exports, 2)
    follower.look()
    assert "export it again" in follower.why


def test_a_surprise_ends_neither_the_thread_nor_the_model(
    reader: FakeReader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    follower, metrics = new_follower(reader)
    follower.look()

    def surprise(_: Champion) -> Path:
        raise ZeroDivisionError

    monkeypatch.setattr(reader, "folder", surprise)
    reader.now = champion_of(reader.exports, 2)
    follower.look()
    monkeypatch.setattr(reader, "champion", lambda: 1 / 0)
    for _ in range(3):
        follower.look()
    assert caplog.text.count("Traceback") == 2  # of each once
    assert version(follower) == "1"
    assert counted(metrics, "model_swap_failures") == 1
    assert counted(metrics, "champion_lookup_failures") == 3


def test_while_the_registry_is_away_the_model_goes_on(reader: FakeReader, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    follower, metrics = new_follower(reader)
    follower.look()
    reader.error = AWAY
    for _ in range(3):
        follower.look()
    assert version(follower) == "1"
    assert counted(metrics, "champion_lookup_failures") == 3
    assert caplog.text.count("the champion cannot be looked up") == 1
    reader.error = None
    follower.look()
    follower.look()
    assert caplog.text.count("the champion can be looked up again") == 1


def test_files_that_cannot_be_fetched_are_asked_for_again(
    reader: FakeReader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    follower, metrics = new_follower(reader)
    with monkeypatch.context() as patch:

        def away(_: Champion) -> Path:
            raise AWAY

        patch.setattr(reader, "folder", away)
        for _ in range(3):
            follower.look()
    assert follower.current is None
    assert caplog.text.count("the champion cannot be looked up") == 1
    follower.look()
    assert version(follower) == "1"
    assert counted(metrics, "model_swap_failures") == 0


def test_the_service_starts_from_the_mirror_without_the_registry(reader: FakeReader) -> None:
    reader.in_mirror, reader.error = reader.now, AWAY
    follower, _ = new_follower(reader, follow_seconds=3600)
    follower.start()
    try:
        assert version(follower) == "1"
    finally:
        follower.stop()


def test_no_champion_is_no_failure(reader: FakeReader) -> None:
    reader.now = None
    follower, metrics = new_follower(reader)
    follower.look()
    assert follower.why == "no model is champion yet"
    assert counted(metrics, "champion_lookup_failures") == 0
    reader.now = champion_of(reader.exports, 1)
    follower.look()
    reader.now = None
    follower.look()
    assert version(follower) == "1"
