"""Frontal chest radiographs are accepted, other pictures are refused, and negatives corrected."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pneumonia.config.schema import PreprocessConfig
from pneumonia.config.service import ServingConfig
from pneumonia.imaging.radiograph import read_bytes
from pneumonia.inference.exporting import ExportData, export_model
from pneumonia.inference.input_check import InputCheck
from pneumonia.inference.served_model import Answer, ServedModel
from tests.support.exports import SIZE, phantoms, weights
from tests.support.images import dicom, encode, picture, png

NEW = phantoms(40, 9).pixels
AGES = (1.0, 5.0)


@pytest.fixture(scope="module", params=[False, True], ids=["as they are", "equalised"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A tiny network with random weights, exported with phantoms."""
    folder = tmp_path_factory.mktemp("checked")
    equal = bool(request.param)
    file = weights(folder / "model.safetensors", preprocess=PreprocessConfig(size=SIZE, equalize=equal))
    data = ExportData(phantoms(96, 1, equal=equal), phantoms(48, 2, equal=equal), AGES)
    export_model(file, folder / "export", data, threads=1)
    return ServedModel(folder / "export", "pneumonia-tiny-phantom", "1", ServingConfig(threads=1))


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)


def text() -> NDArray[np.uint8]:
    page = Image.new("L", (256, 256), 255)
    ImageDraw.Draw(page).multiline_text((8, 8), "\n".join(["of the lungs and the heart, in words"] * 18), 0)
    return np.asarray(page)


def rings() -> NDArray[np.uint8]:
    down, across = np.mgrid[-1:1:160j, -1:1:160j]
    return np.asarray(127 + 120 * np.sin(12 * np.hypot(down, across)), np.uint8)


def disc() -> NDArray[np.uint8]:
    down, across = np.mgrid[-1:1:160j, -1:1:160j]
    return np.asarray(np.where(np.hypot(down, across) < 0.6, 180, 5), np.uint8)


def test_radiographs_are_accepted(model: ServedModel) -> None:
    answers = [model.answer(png(pixels)) for pixels in NEW]
    assert not [answer.assessment for answer in answers if answer.refused]
    assert sum(answer.assessment.familiar for answer in answers) >= 0.75 * len(NEW)
    said = model.document(answers[0])
    assert json.loads(json.dumps(said)) == said
    assert said["checks"]["inverted"] is False
    assert said["checks"]["size"] == [SIZE, SIZE]
    assert 0 <= said["distance_percentile"] <= 100


@pytest.mark.parametrize("foreign", [noise, text, rings, disc, lambda: picture(1), lambda: picture(7)])
def test_other_pictures_are_refused(model: ServedModel, foreign: object) -> None:
    assert callable(foreign)
    found = model.answer(png(foreign()))
    assert found.assessment.code in ("not_a_radiograph", "not_frontal_chest")
    said = model.document(found)
    assert said["refused"]
    assert "probability" not in said
    assert "; give a" in said["reason"]


def test_parts_and_shuffled_radiographs_are_refused(model: ServedModel) -> None:
    halves = [model.answer(png(np.ascontiguousarray(pixels[:, : SIZE // 2]))) for pixels in NEW[:10]]
    quarters = NEW[:10].reshape(10, 2, SIZE // 2, 2, SIZE // 2)[:, ::-1, :, ::-1].reshape(10, SIZE, SIZE)
    shuffled = [model.answer(png(np.ascontiguousarray(pixels))) for pixels in quarters]
    assert sum(answer.refused for answer in halves) >= 9
    assert sum(answer.refused for answer in shuffled) >= 9


def test_a_negative_is_corrected_and_said(model: ServedModel) -> None:
    for pixels in NEW[:10]:
        upright, negative = model.answer(png(pixels)), model.answer(png(255 - pixels))
        assert negative.assessment.findings["inverted"]
        assert "negative" in negative.assessment.notes[0]
        assert negative.image is not None
        assert np.array_equal(negative.image.levels, pixels)
        assert probability(negative) == pytest.approx(probability(upright), abs=1e-6)
        assert model.document(negative)["notes"] == list(negative.assessment.notes)


def probability(answer: Answer) -> float:
    assert answer.outputs is not None
    return answer.outputs.probability


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_radiograph_is_refused_with_the_remedy(model: ServedModel, turns: int) -> None:
    for pixels in NEW[:5]:
        found = model.answer(png(np.ascontiguousarray(np.rot90(pixels, turns))))
        assert found.assessment.code == "not_frontal_chest"
        assert found.assessment.findings["rotated"]
        assert "rotate it" in found.assessment.remedy
        assert found.outputs is None


def test_a_picture_in_colour_is_refused_and_equal_channels_are_not(model: ServedModel) -> None:
    rgb = np.repeat(NEW[0][:, :, None], 3, axis=2)
    assert not model.answer(png(rgb)).refused
    assert not model.answer(encode(Image.fromarray(rgb), "JPEG", quality=95)).refused
    opaque = Image.fromarray(rgb).convert("RGBA")
    assert not model.answer(png(opaque)).refused
    rgb[:, :, 2] //= 2
    for content in (png(rgb), encode(Image.fromarray(rgb), "JPEG", quality=95)):
        found = model.answer(content).assessment
        assert found.code == "not_a_radiograph"
        assert "in colour" in found.reason


def test_small_and_blank_images_are_refused(model: ServedModel) -> None:
    small = Image.fromarray(NEW[0]).resize((SIZE, 32))
    assert model.answer(png(small)).assessment.code == ""
    check = InputCheck({}, PreprocessConfig(size=96))
    assert check.prepare(read_bytes(png(small), PreprocessConfig(size=96))).assessment.code == "too_small"
    faint = np.asarray(120 + NEW[0] // 32, np.uint8)
    assert model.answer(png(faint)).assessment.code == "blank"
    assert model.answer(png(np.full((90, 90), 5, np.uint8))).assessment.code == "blank"


def test_what_a_dicom_file_says(model: ServedModel) -> None:
    child = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA", "PatientAge": "004Y"}
    found = model.answer(dicom(NEW[1], **child))
    assert found.assessment.findings["view"] == "PA"
    assert found.assessment.findings["age"] == 4.0
    familiar = found.assessment.familiar
    assert not found.refused
    adult = model.answer(dicom(NEW[1], **(child | {"PatientAge": "062Y"}))).assessment
    assert not adult.familiar
    assert "62 years" in adult.notes[-1]
    assert model.answer(dicom(NEW[1], **(child | {"PatientAge": "005Y"}))).assessment.familiar == familiar
    for changed, code in (
        ({"Modality": "CT"}, "modality"),
        ({"BodyPartExamined": "HAND"}, "body_part"),
        ({"ViewPosition": "LL"}, "view"),
    ):
        refused = model.answer(dicom(NEW[1], **(child | changed)))
        assert refused.assessment.code == code
        assert refused.outputs is None


def test_without_the_training_images_only_the_file_is_looked_at(tmp_path: Path) -> None:
    export_model(weights(tmp_path / "model.safetensors"), tmp_path / "export", None, threads=1)
    model = ServedModel(tmp_path / "export", "pneumonia-tiny-phantom", "1", ServingConfig(threads=1))
    accepted = model.answer(png(noise()))
    assert not accepted.refused
    assert accepted.assessment.findings["compared"] is False
    assert not model.compares
    assert model.answer(png(np.stack([noise(), noise() // 2, noise() // 3], axis=2))).refused
    assert model.answer(dicom(NEW[0], Modality="CT")).refused


def test_nothing_is_looked_at_where_the_configuration_says_so(model: ServedModel, tmp_path: Path) -> None:
    export_model(weights(tmp_path / "model.safetensors"), tmp_path / "export", None, threads=1)
    config = ServingConfig(threads=1, check_input=False)
    unchecked = ServedModel(tmp_path / "export", "pneumonia-tiny-phantom", "1", config)
    assert not unchecked.checks_input
    assert not unchecked.answer(dicom(NEW[0], Modality="CT")).refused
    assert model.checks_input


@pytest.mark.real
def test_real_radiographs_are_another_picture_than_phantoms(model: ServedModel, shared: Path) -> None:
    """A model of phantoms is not misled into answers about real ones, and nothing fails on their files."""
    files = sorted((shared / "originals").rglob("*.jpeg"))[::20] + sorted((shared / "dicom").glob("*.dcm"))
    answers = {file.name: model.answer(file.read_bytes()) for file in files}
    assert answers["tibia_monochrome1_j2k.dcm"].assessment.code == "body_part"
    for answer in answers.values():
        json.dumps(model.document(answer))
        assert answer.refused or answer.outputs is not None
    assert answers["chest_pa_monochrome2_jpeg.dcm"].assessment.findings["age"] == 62.0
