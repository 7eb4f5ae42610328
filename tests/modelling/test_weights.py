"""A model's file: weights with the record of how they are used."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pneumonia.config.schema import PreprocessConfig
from pneumonia.errors import DataError, PneumoniaError
from pneumonia.modelling.network import load_model
from pneumonia.modelling.weights import save_weights, state_digest
from pneumonia.records.model import ModelRecord, read_record


def record(state: dict[str, Tensor], **changes: object) -> ModelRecord:
    values = {
        "name": "pneumonia-resnet18",
        "phantom": False,
        "architecture": "tiny",
        "preprocess": PreprocessConfig(size=32, equalize=True),
        "threshold": 0.4,
        "weights_digest": state_digest(state),
        "data_digest": "d" * 64,
        "split_digest": "5" * 64,
        "dvc_md5": "0" * 32,
        "config": {"train": {"epochs": 3}},
        "library_version": "0.1.0",
    }
    return ModelRecord.model_validate(values | changes)


def test_weights_and_record_come_back(tmp_path: Path, network: nn.Module, state: dict[str, Tensor]) -> None:
    path = tmp_path / "deep" / "model.safetensors"
    written = record(state)
    save_weights(path, state, written)
    loaded, found = load_model(path)
    assert found == written == read_record(path)
    assert state_digest(loaded.state_dict()) == written.weights_digest
    assert not loaded.training
    images = torch.rand(2, 64, 64)
    torch.testing.assert_close(loaded(images), network(images), rtol=1e-4, atol=1e-5)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]


def test_flip_averaging_gives_the_same_for_an_image_and_its_mirror_image(tmp_path: Path, network: nn.Module) -> None:
    network = network.eval()
    images = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    save_weights(tmp_path / "m.safetensors", network.state_dict(), record(network.state_dict(), flip_tta=True))
    mirrored, _ = load_model(tmp_path / "m.safetensors")
    with torch.inference_mode():
        seen = mirrored(images)
        torch.testing.assert_close(seen, mirrored(images.flip(-1)))
        torch.testing.assert_close(seen, (network(images) + network(images.flip(-1))) / 2)
        assert not torch.allclose(seen, network(images))


def test_the_file_holds_no_pickle(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, state, record(state))
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(state)
        assert json.loads(file.metadata()["record"])["threshold"] == 0.4


@pytest.mark.parametrize("position", [-1, -20_000])
def test_weights_that_were_tampered_with_are_refused(tmp_path: Path, state: dict[str, Tensor], position: int) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, state, record(state))
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"digest.*fetch the file again"):
        load_model(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    other = {"a": torch.zeros(3)}
    save_weights(path, other, record(other))
    with pytest.raises(DataError, match="holds no tiny of two classes"):
        load_model(path)


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    known = record({}).model_dump(mode="json")
    save_file({"a": torch.zeros(1)}, path, metadata={"record": json.dumps({**known, "format": 3})})
    with pytest.raises(DataError, match="format 3, this version reads 1 and 2"):
        read_record(path)


@pytest.mark.parametrize("mirror", [True, False])
def test_a_record_of_format_1_is_read(tmp_path: Path, mirror: bool) -> None:
    """It knew one architecture, and called the averaging with the mirror image by another name."""
    path = tmp_path / "model.safetensors"
    known = record({}).model_dump(mode="json")
    old = {key: value for key, value in known.items() if key not in ("architecture", "flip_tta")}
    save_file({"a": torch.zeros(1)}, path, metadata={"record": json.dumps({**old, "format": 1, "mirror": mirror})})
    found = read_record(path)
    assert (found.format, found.architecture, found.flip_tta) == (2, "resnet18", mirror)
    assert found == record({}, architecture="resnet18", flip_tta=mirror)


@pytest.mark.parametrize(
    ("name", "value"),
    [("weights_digest", "0"), ("architecture", "resnet18"), ("flip_tta", True), ("threshold", 0.41),
     ("preprocess", PreprocessConfig(size=64))],
)  # fmt: skip
def test_what_makes_two_models_the_same(name: str, value: object) -> None:
    one = record({})
    assert one.is_same_model(one.model_copy(update={"name": "other", "data_digest": "other"}))
    assert not one.is_same_model(one.model_copy(update={name: value}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        (b"", "not a model of this project"),
        (b"hello" * 40, "not a model of this project"),
        (struct.pack("<Q", 2) + b"{}", "not a model of this project"),
    ],
)
def test_a_file_that_is_no_model_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        load_model(path)


def test_a_truncated_model_is_told(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, state, record(state))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="not a model of this project"):
        load_model(path)


def test_an_unknown_key_in_a_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    known = record({}).model_dump(mode="json")
    save_file({"a": torch.zeros(1)}, path, metadata={"record": json.dumps({**known, "surprise": 1})})
    with pytest.raises(DataError, match="not a model of this project"):
        read_record(path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, state: dict[str, Tensor]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PneumoniaError, match="cannot be written"):
        save_weights(tmp_path / "file" / "model.safetensors", {"a": torch.zeros(1)}, record({}))
