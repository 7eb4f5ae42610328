"""Build a network by the name of its architecture, and load one to be used as its record specifies.

An architecture is a module of `pneumonia.modelling.architectures` with a function ``build(classes)``. The network that
it returns takes grey images, float [B, H, W] in 0..1, and returns logits [B, classes]; it has a method ``features``,
which returns the last feature map, and its last layer is named ``fc``. The module has a function ``imagenet_state()``
if there are ImageNet weights for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pneumonia.config.schema import CLASSES
from pneumonia.errors import ConfigError, DataError
from pneumonia.modelling.weights import CHOICES, read_state, state_digest, transfer
from pneumonia.records.model import ModelRecord, first_line, read_record


def build_network(architecture: str, weights: str, seed: int) -> nn.Module:
    """Build a network of two classes.

    Args:
        architecture: one of `pneumonia.config.schema.ARCHITECTURES`.
        weights: ``imagenet``, ``none`` or a file with a state dict of that architecture (float32 or float16).
        seed: seed of everything that is drawn at random: all layers for ``none``, the last one otherwise.

    Raises:
        ConfigError: the weights are not available, or do not fit; the message names the choices.
    """
    module = _module(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = module.build(len(CLASSES))
    if weights != "none":
        state = _imagenet(module, architecture) if weights == "imagenet" else read_state(Path(weights))
        transfer(network, state, architecture, weights)
    return network


def _module(architecture: str) -> Any:
    return importlib.import_module(f"pneumonia.modelling.architectures.{architecture}")


def _imagenet(module: Any, architecture: str) -> dict[str, Tensor]:
    if not hasattr(module, "imagenet_state"):
        raise ConfigError(
            f"model.weights=imagenet: there are none for model.architecture={architecture}; "
            "choose model.weights=none (random start) or model.weights=FILE"
        )
    try:
        state: dict[str, Tensor] = module.imagenet_state()
    except ConfigError as error:
        raise ConfigError(f"{error}; {CHOICES}") from None
    return state


class FlipAveraged(nn.Module):
    """Average the logits of an image and of its mirror image (test-time augmentation by a horizontal flip)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, 2] of images float [B, H, W] in 0..1."""
        both: Tensor = self.network(images) + self.network(images.flip(-1))
        return both / 2


def assemble_network(state: Mapping[str, Tensor], architecture: str, *, flip_tta: bool) -> nn.Module:
    """Return a network with these weights: evaluation mode, float32, channels-last.

    Raises:
        RuntimeError: torch's own, where the weights are not of this architecture with two classes.
    """
    network = build_network(architecture, "none", seed=0)
    network.load_state_dict(state)
    used: nn.Module = FlipAveraged(network) if flip_tta else network
    return used.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def load_model(path: Path) -> tuple[nn.Module, ModelRecord]:
    """Load a model as its record specifies: evaluation mode, float32, channels-last.

    Raises:
        DataError: the file cannot be read, has no record, or its weights do not have the digest that it records.
    """
    record = read_record(path)
    state = load_file(path)
    if state_digest(state) != record.weights_digest:
        raise DataError(f"{path}: the weights do not have the digest in their record; fetch the file again")
    try:
        return assemble_network(state, record.architecture, flip_tta=record.flip_tta), record
    except RuntimeError as error:
        raise DataError(
            f"{path}: holds no {record.architecture} of two classes ({first_line(error)}); name another file"
        ) from None
