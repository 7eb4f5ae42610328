"""The network: weights that come from elsewhere, the film's way in, and its digest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from pneumonia.config.schema import CLASSES
from pneumonia.errors import ConfigError
from pneumonia.modelling.network import IMAGENET_MEAN, IMAGENET_STD, build_network, forward_grey, normalise
from pneumonia.modelling.weights import state_digest

CHOICES = ("model.weights=imagenet", "model.weights=FILE", "model.weights=none")


def imagenet_like(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as torchvision publishes it: a thousand classes."""
    return {**state, "fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}


# ---- building


def test_the_last_layer_has_the_two_classes(network: nn.Module) -> None:
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, len(CLASSES))
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_177_538  # ResNet18's, 2 classes


def test_a_seed_names_a_random_start() -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    first, again, other = (state_digest(build_network("none", seed).state_dict()) for seed in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before), "the caller's random state was touched"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_a_file_gives_all_layers_but_the_last(
    tmp_path: Path, state: dict[str, Tensor], suffix: str, kind: torch.dtype
) -> None:
    path = tmp_path / f"weights{suffix}"
    given = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    given |= {name: tensor.to(kind) for name, tensor in imagenet_like({}).items()}
    save_file(given, path) if suffix == ".safetensors" else torch.save(given, path)
    loaded = build_network(str(path), seed=3).state_dict()
    fresh = build_network("none", seed=3).state_dict()
    for name, tensor in loaded.items():
        expected = fresh[name] if name.startswith("fc.") else given[name]
        assert tensor.dtype == fresh[name].dtype
        assert torch.equal(tensor, expected.to(tensor.dtype)), name


def test_a_last_layer_of_two_classes_is_kept(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    assert state_digest(build_network(str(path), seed=0).state_dict()) == state_digest(state)


def test_half_a_last_layer_is_drawn_anew(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor for name, tensor in state.items() if name != "fc.bias"}, path)
    assert torch.equal(
        build_network(str(path), 3).state_dict()["fc.weight"], build_network("none", 3).state_dict()["fc.weight"]
    )


def test_files_from_before_the_batch_counters_load(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pt"
    torch.save({name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}, path)
    assert state_digest(build_network(str(path), seed=0).state_dict()) == state_digest(state)


@pytest.mark.real
def test_the_shared_weights_load(shared: Path) -> None:
    path = shared / "weights" / "resnet18-imagenet-partial.pt"
    given = torch.load(path, weights_only=True)
    loaded = build_network(str(path), seed=0).state_dict()
    assert given["fc.weight"].shape == (1000, 512)
    assert loaded["fc.weight"].shape == (2, 512)
    for name in ("conv1.weight", "layer3.1.conv2.weight", "bn1.running_var"):
        assert torch.equal(loaded[name], given[name].float())


def _missing(path: Path, state: dict[str, Tensor]) -> None:
    """No file."""


def _text(path: Path, state: dict[str, Tensor]) -> None:
    path.write_text("these are no weights\n" * 50)


def _empty(path: Path, state: dict[str, Tensor]) -> None:
    path.write_bytes(b"")


def _folder(path: Path, state: dict[str, Tensor]) -> None:
    path.mkdir()


def _truncated(path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-100_000])


def _other_network(path: Path, state: dict[str, Tensor]) -> None:
    changed = {name: tensor for name, tensor in state.items() if not name.startswith("layer4.1")}
    save_file(changed, path) if path.suffix == ".safetensors" else torch.save(changed, path)


def _other_shape(path: Path, state: dict[str, Tensor]) -> None:
    changed = {**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}
    save_file(changed, path) if path.suffix == ".safetensors" else torch.save(changed, path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("spoil", [_missing, _text, _empty, _folder, _truncated, _other_network, _other_shape])
def test_weights_that_do_not_serve_name_the_choices(
    tmp_path: Path, state: dict[str, Tensor], spoil: Callable[[Path, dict[str, Tensor]], None], suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    spoil(path, state)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as failure:
        build_network(str(path), seed=0)
    assert all(choice in str(failure.value) for choice in CHOICES)
    assert failure.value.exit_code == 2


class _Opens:
    """Pickled, it would write a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    path, trace = tmp_path / "weights.pt", tmp_path / "ran"
    torch.save({"conv1.weight": torch.zeros(1), "x": _Opens(trace)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ConfigError, match="tensors alone") as failure:
        build_network(str(path), seed=0)
    assert all(choice in str(failure.value) for choice in CHOICES)
    assert not trace.exists()


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 1}}, {1: torch.zeros(1)}, torch.zeros(3)])
def test_other_things_in_a_file_are_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ConfigError, match="not a state dict of tensors"):
        build_network(str(path), seed=0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("legacy", [True, False])
def test_damage_is_told_whatever_it_leads_to(tmp_path: Path, seed: int, legacy: bool) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=not legacy)
    content = bytearray(path.read_bytes())
    positions = torch.randint(len(content), (40,), generator=torch.Generator().manual_seed(seed))
    for position in positions.tolist():
        content[position] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        build_network(str(path), seed=0)


def test_imagenet_without_a_network_names_the_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ConfigError, match=r"model\.weights=imagenet: https://\S+ cannot be had") as failure:
        build_network("imagenet", seed=0)
    assert all(choice in str(failure.value) for choice in CHOICES)


# ---- the film's way in


def test_normalising_is_imagenets() -> None:
    pixels = torch.randint(0, 256, (3, 8, 10), dtype=torch.uint8)
    shown = normalise(pixels)
    assert shown.shape == (3, 3, 8, 10)
    assert shown.is_contiguous(memory_format=torch.channels_last)
    for channel, (mean, deviation) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        torch.testing.assert_close(shown[:, channel], (pixels / 255 - mean) / deviation)
    torch.testing.assert_close(normalise(pixels / 255), shown)


def test_normalising_leaves_its_input_alone() -> None:
    images = torch.rand(2, 8, 8)
    before = images.clone()
    normalise(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("training", [True, False])
def test_the_cheap_way_in_is_the_same_function(training: bool) -> None:
    network = build_network("none", seed=0).double().train(training)
    for module in network.modules():  # not the mild numbers of a fresh network
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.uniform_(module.bias, -1, 1)
    images = torch.rand(2, 32, 40, dtype=torch.float64)
    labels = torch.tensor([0, 1])

    def run(logits: Tensor) -> tuple[Tensor, list[Tensor]]:
        return logits, list(torch.autograd.grad(F.cross_entropy(logits, labels), list(network.parameters())))

    expected, gradients = run(network(normalise(images)))
    logits, others = run(forward_grey(network, images))
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, gradient, rtol=1e-8, atol=1e-10)


# ---- the digest


def test_a_digest_changes_with_any_bit(state: dict[str, Tensor]) -> None:
    original = state_digest(state)
    assert re.fullmatch("[0-9a-f]{64}", original)
    assert state_digest({name: tensor.clone() for name, tensor in state.items()}) == original
    for name in ("conv1.weight", "layer2.0.downsample.1.running_var", "bn1.num_batches_tracked", "fc.bias"):
        changed = {**state, name: state[name].clone()}
        flat = changed[name].reshape(-1).view(torch.uint8)
        for position in (0, len(flat) - 1):
            flat[position] ^= 1
            assert state_digest(changed) != original, (name, position)
            flat[position] ^= 1
        assert state_digest(changed) == original


def test_a_digest_knows_names_types_and_shapes() -> None:
    base = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    others = [
        {"a": base["a"].reshape(2, 3), "b": base["b"]},
        {"a": base["a"].view(torch.int32), "b": base["b"]},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"]},
        {},
    ]
    digests = {state_digest(state) for state in [base, *others]}
    assert len(digests) == 6


def test_a_digest_does_not_know_order_or_memory_layout() -> None:
    weights, bias = torch.rand(4, 3, 5, 5), torch.rand(4)
    assert state_digest({"w": weights, "b": bias}) == state_digest(
        {"b": bias, "w": weights.contiguous(memory_format=torch.channels_last)}
    )
