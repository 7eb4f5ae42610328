"""Exported models for tests: a tiny network on phantoms."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np

import pneumonia
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import PreprocessConfig
from pneumonia.data.phantom.dataset import render
from pneumonia.imaging.image_statistics import describe_images, measure
from pneumonia.imaging.preprocessing import equalize
from pneumonia.inference.exporting import ExportData, LabelledImages, export_model
from pneumonia.inference.model_source import EXPORTS
from pneumonia.modelling.network import build_network
from pneumonia.modelling.weights import save_weights, state_digest
from pneumonia.records.export import ExportRecord
from pneumonia.records.model import ModelRecord, read_record
from pneumonia.registry.mirror import Champion, Mirror

SIZE = 64


@functools.cache
def phantoms(count: int, seed: int, size: int = SIZE, *, equal: bool = False) -> LabelledImages:
    """Phantoms as a packing holds them; every second one with opacities."""
    drawn = [render(at % 2, np.random.default_rng([seed, at]), size) for at in range(count)]
    pixels = np.stack([equalize(each) if equal else each for each in drawn])
    labels = np.arange(count, dtype=np.int64) % 2
    measures = np.stack([measure(each) for each in drawn])
    sides, sizes = np.full(count, float(size)), np.full(count, 4000.0)
    statistics = describe_images(["PNG L"] * count, sizes, sides, sides, measures)
    nobody = np.zeros(count, np.bool_)
    return LabelledImages(pixels, np.arange(count), statistics, labels, np.arange(count), nobody)


def weights(path: Path, *, seed: int = 0, architecture: str = "tiny", flip_tta: bool = False, **record: object) -> Path:
    """A network with random weights, as a training saves it."""
    state = build_network(architecture, "none", seed).state_dict()
    settings = {
        "name": f"pneumonia-{architecture}-phantom",
        "phantom": True,
        "architecture": architecture,
        "preprocess": PreprocessConfig(size=SIZE),
        "threshold": 0.5,
        "flip_tta": flip_tta,
        "weights_digest": state_digest(state),
        "data_digest": "0" * 64,
        "split_digest": "0" * 64,
        "config": resolve(assignments=["data.root=phantom"], environment={}).model_dump(mode="json"),
        "library_version": pneumonia.__version__,
    }
    save_weights(path, state, ModelRecord.model_validate(settings | record))
    return path


def export(folder: Path, *, seed: int = 0, images: int = 96, **options: object) -> ExportRecord:
    """Export a network with random weights into a folder; some two seconds."""
    with tempfile.TemporaryDirectory() as place:
        file = weights(Path(place) / "model.safetensors", seed=seed, **options)  # type: ignore[arg-type]
        data = ExportData(phantoms(images, 1), phantoms(images // 2, 2))
        return export_model(file, folder, data, threads=1)


def champion(record: ExportRecord, version: str = "1", name: str = "pneumonia-tiny-phantom") -> Champion:
    """The champion that an export belongs to."""
    return Champion(
        name=name,
        version=version,
        run_id="0" * 32,
        phantom=True,
        model_digest=record.model_digest,
        export_digest=record.digest(),
    )


def mirrored(work: Path, *, seed: int = 0, name: str = "pneumonia-tiny-phantom", images: int = 32) -> Champion:
    """Export a network and name it champion in the mirror of a work folder, as a promotion leaves it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "export"
        held, mirror = champion(export(folder, seed=seed, images=images), name=name), Mirror(work, name)
        mirror.folder(held, lambda target: shutil.copytree(folder, target, dirs_exist_ok=True))
        mirror.write(held)
    return held


@functools.cache
def _exported(content: bytes) -> Path:
    place = Path(tempfile.mkdtemp(prefix="pneumonia-test-exports-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "model.safetensors").write_bytes(content)
    export_model(place / "model.safetensors", place / "export", None)
    return place / "export"


def provide(work: Path, weights: Path) -> None:
    """Put the export of a weights file into a work folder, as an earlier use has left it; made once a process."""
    target = work / EXPORTS / f"{read_record(weights).model_digest()[:16]}-fp32"
    shutil.copytree(_exported(weights.read_bytes()), target, dirs_exist_ok=True)
