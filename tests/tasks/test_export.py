"""The step export_model: graphs that agree with the network, the choice between them, and the champion's mirror."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pneumonia.errors import DataError
from pneumonia.inference import exporting
from pneumonia.inference.engine import Engine
from pneumonia.modelling.network import load_model
from pneumonia.records.export import FILES, GRAPHS, REFERENCE
from pneumonia.records.model import read_record
from pneumonia.records.steps import ExportedModel
from pneumonia.registry import models, moves, registration
from pneumonia.registry.mirror import Mirror, read_export
from pneumonia.tracking.client import download_artifact
from tasks.export_model import export_data, export_model
from tasks.prepare_data import prepare_data
from tasks.train_model import train_model
from tests.cli.console import call
from tests.support.small import small
from tests.support.steps import run


def test_both_graphs_agree_with_the_network_on_validation_images(work: Path) -> None:
    config = small(work)
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    exported = export_model(dataset, trained, config)
    assert ExportedModel.model_validate_json(exported.model_dump_json()) == exported
    held = export_data(dataset).validation
    assert exported.agreement.images == len(held) > 0
    assert exported.agreement.fp32_difference < exporting.FP32_TOLERANCE
    network, record = load_model(Path(trained.weights))
    pixels = held.take(np.arange(8))
    from pneumonia.modelling.export import logits

    expected = logits(network, pixels)
    for precision, tolerance in (("fp32", 1e-4), ("int8", 0.5)):
        engine = Engine(Path(exported.folder) / GRAPHS[precision], record.preprocess.size, threads=1)
        assert np.stack([engine.run(image).logits for image in pixels]) == pytest.approx(expected, abs=tolerance)
    reference = load_file(Path(exported.folder) / REFERENCE)
    assert reference["head"].shape[0] == 2
    for precision in GRAPHS:
        engine = Engine(Path(exported.folder) / GRAPHS[precision], record.preprocess.size, threads=1)
        known = np.stack([engine.run(image).logits for image in reference["sample_pixels"]])
        assert known == pytest.approx(reference[f"sample_logits_{precision}"], abs=1e-4)


def test_the_same_export_is_made_once_and_kept_with_the_run(work: Path, tmp_path: Path) -> None:
    config = small(work)
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    exported = export_model(dataset, trained, config)
    times = {name: (Path(exported.folder) / name).stat().st_mtime_ns for name in FILES}
    assert export_model(dataset, trained, config) == exported
    assert {name: (Path(exported.folder) / name).stat().st_mtime_ns for name in FILES} == times
    kept = download_artifact(trained.tracking_uri, trained.run_id, "export", tmp_path / "kept")
    assert read_export(kept, exported.export_digest).digest() == exported.export_digest
    (Path(exported.folder) / GRAPHS["int8"]).write_bytes(b"damaged")
    assert export_model(dataset, trained, config).agreement == exported.agreement, "damaged files are made again"
    assert read_export(Path(exported.folder)).files[GRAPHS["int8"]]


def test_a_graph_that_differs_from_the_network_stops_the_step(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(work)
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    computed = Engine.run

    def wrong(engine: Engine, pixels: np.ndarray) -> object:
        found = computed(engine, pixels)
        return dataclasses.replace(found, logits=found.logits + np.float32(2e-4))

    monkeypatch.setattr(Engine, "run", wrong)
    with pytest.raises(DataError, match="differs from the network"):
        export_model(dataset, trained, config)
    assert not (Path(trained.weights).parent / "export").exists()


def test_float32_is_served_where_int8_does_not_agree(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "INT8_LABELS", 1.01)
    _, trained, validation, _ = run(small(work))
    held = models.champion(trained.tracking_uri, "pneumonia-tiny-phantom")
    assert held is not None
    folder = Path(trained.weights).parent / "export"
    assert read_export(folder, held.export_digest).precision == "fp32"
    assert "so float32 is served" in Path(validation.report).read_text()


def test_a_promotion_writes_the_mirror(work: Path) -> None:
    config = small(work)
    _, trained, validation, promotion = run(config)
    mirror = Mirror(work, promotion.name)
    held = mirror.champion()
    assert held is not None
    assert (held.version, held.phantom) == (promotion.version, True)
    assert held.metrics == validation.verdict.metrics
    assert held.move is not None
    assert held.move.to_version == promotion.version
    folder = mirror.folder(held, lambda _: pytest.fail("it is there"))
    assert read_export(folder, held.export_digest).model_digest == held.model_digest
    second = run(small(work, "train.seed=1"))[3]
    after = mirror.champion()
    assert after is not None
    assert (after.version, after.previous) == (second.version, promotion.version) if second.promoted else after == held
    assert trained.tracking_uri


def test_a_version_of_an_earlier_release_is_exported_by_hand(work: Path) -> None:
    """It was registered and promoted when there was no export."""
    config = small(work)
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    uri, name = trained.tracking_uri, config.registry.name
    version = registration.register(uri, read_record(Path(trained.weights)), trained.run_id, trained.model_uri)
    moves.promote(uri, name, version.version, "ada", "why", against=None, despite=True)  # it was never validated
    options = ["--set", f"work={work}"]
    without = call("export", "--model", f"models:/{name}/2", *options)
    assert (without.exit_code, "no version or alias '2'" in without.stderr) == (1, True)
    other = call("export", "--model", version.uri, "--data", str(work / "nowhere"), *options)
    assert other.exit_code == 1
    assert not models.get(uri, name, "1").export_digest
    done = call("export", "--model", version.uri, "--json", *options)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["export"]["agreement"]["images"] > 0
    assert models.get(uri, name, "1").export_digest
    held = Mirror(work, name).champion()
    assert held is not None
    assert (held.version, held.export_digest) == ("1", models.get(uri, name, "1").export_digest)
    image = next(Path(dataset.root).rglob("*.jpeg"))
    assert call("predict", str(image), "--model", f"models:/{name}@champion", *options).exit_code == 0
    again = call("export", "--model", version.uri, *options)
    assert "has an export already" in again.stdout
