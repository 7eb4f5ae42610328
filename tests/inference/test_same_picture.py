"""The same picture scores the same, whichever file it comes in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from pneumonia.config.schema import Config, PreprocessConfig
from pneumonia.data.phantom import dataset
from pneumonia.imaging.preprocessing import equalize
from pneumonia.inference.predictor import Predictor
from pneumonia.modelling.network import build_network
from pneumonia.modelling.weights import save_weights, state_digest
from pneumonia.records.model import ModelRecord
from tests.support.dicom_cases import lut, words
from tests.support.images import dicom, jpeg, png

STEEP = 150.0
SAME = 0.01
"""Largest difference of probabilities; JPEG changes grey levels a little."""


def in_every_container(grey: NDArray[np.uint8]) -> dict[str, bytes]:
    """A picture as files that show it: uint8 [H, W]."""
    deep = grey.astype(np.uint16) * 16
    levels = words(np.arange(256).repeat(16))
    wide = {"BitsStored": 12, "HighBit": 11}
    window = {"WindowCenter": 2040, "WindowWidth": 4081}
    return {
        "JPEG": jpeg(grey),
        "PNG": png(grey),
        "PNG, 16 bits": png(grey.astype(np.uint16) * 257),
        "MONOCHROME2": dicom(grey),
        "MONOCHROME1": dicom(255 - grey, PhotometricInterpretation="MONOCHROME1"),
        "MONOCHROME2, windowed": dicom(deep, **wide, **window),
        "MONOCHROME1, windowed": dicom(4080 - deep, **wide, **window, PhotometricInterpretation="MONOCHROME1"),
        "MONOCHROME2, left-justified": dicom(deep * 16, BitsStored=12, HighBit=15, **window),
        "MONOCHROME2, table": dicom(deep, **wide, VOILUTSequence=[lut(levels, bits=8, kind="OW", count=4096)]),
        "MONOCHROME2, JPEG": dicom(grey, JPEGBaseline8Bit),
        "MONOCHROME2, JPEG 2000": dicom(grey, JPEG2000Lossless),
        "MONOCHROME2, run lengths": dicom(grey, RLELossless),
    }


def predictor(work: Path) -> Predictor:
    """A network with random weights and a steep last layer: unlike an untrained network's its answers are far apart."""
    network = build_network("tiny", "none", seed=3).eval()
    state = network.state_dict()
    state["fc.weight"] *= STEEP
    grey = equalize(dataset.render(0, np.random.default_rng(0), 64))
    with torch.no_grad():
        state["fc.bias"] -= network(torch.from_numpy(grey)[None] / 255)[0]  # about as likely as not
    record = ModelRecord(
        name="pneumonia-tiny",
        phantom=False,
        architecture="tiny",
        preprocess=PreprocessConfig(size=64, equalize=True),
        threshold=0.5,
        weights_digest=state_digest(state),
        data_digest="d",
        split_digest="s",
        config={},
        library_version="0",
    )
    save_weights(work / "model.safetensors", state, record)
    return Predictor.load(str(work / "model.safetensors"), Config(work=str(work / "work")))


def test_the_container_does_not_change_the_probability(tmp_path: Path) -> None:
    model = predictor(tmp_path)
    means = []
    for seed in range(3):
        grey = dataset.render(seed % 2, np.random.default_rng(seed), 256)
        files = []
        for name, content in in_every_container(grey).items():
            files.append(tmp_path / f"{seed} {name}")
            files[-1].write_bytes(content)
        scores = model.score(files)
        assert not any("refused" in score for score in scores), scores
        probabilities = [score["probability"] for score in scores]
        assert np.ptp(probabilities) < SAME, json.dumps(dict(zip(in_every_container(grey), probabilities, strict=True)))
        means.append(np.mean(probabilities))
    assert np.ptp(means) > SAME  # the network does look at the picture


def test_a_note_reaches_the_score(tmp_path: Path) -> None:
    model = predictor(tmp_path)
    deep = dataset.render(0, np.random.default_rng(1), 96).astype(np.uint16) * 16
    stray = deep.copy()
    stray[4, 4] = 65_535
    for name, stored in (("plain", deep), ("stray", stray)):
        (tmp_path / name).write_bytes(dicom(stored))
    plain, noted = model.score([tmp_path / "plain", tmp_path / "stray"])
    assert "notes" not in plain
    assert "(1)" in noted["notes"][0]
    assert abs(plain["probability"] - noted["probability"]) < 5 * SAME


@pytest.mark.real
def test_a_real_radiograph_scores_the_same_in_every_container(shared: Path, tmp_path: Path) -> None:
    from PIL import Image

    model = predictor(tmp_path)
    originals = sorted((shared / "originals" / "chest_xray" / "test" / "PNEUMONIA").iterdir())[::40]
    for file in originals:
        grey = np.asarray(Image.open(file).convert("L"))
        files = []
        for name, content in in_every_container(grey).items():
            files.append(tmp_path / name)
            files[-1].write_bytes(content)
        probabilities = [score["probability"] for score in model.score(files)]
        assert np.ptp(probabilities) < SAME, file
