"""Read initial weights, write trained ones, and name both by their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from pneumonia.errors import ConfigError
from pneumonia.files import write_bytes
from pneumonia.modelling._torchvision import models
from pneumonia.records.model import ModelRecord, first_line

LAST_LAYER = ("fc.weight", "fc.bias")

CHOICES = (
    "choose model.weights=imagenet (torchvision's, downloaded once), model.weights=FILE (a ResNet18 state dict, "
    ".safetensors or .pt) or model.weights=none (random start)"
)


def weights_origin(weights: str) -> str:
    """Name initial weights by what they are: sha256 in hex of a file's content, or the word that chooses them."""
    file = Path(weights)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else weights


def imagenet_state() -> dict[str, Tensor]:
    weights = models().ResNet18_Weights.IMAGENET1K_V1
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, or a download that does not match its hash
        raise ConfigError(f"model.weights=imagenet: {weights.url} cannot be had ({error}); {CHOICES}") from None
    return state


def read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"model.weights={path}: cannot be read ({error.strerror or error}); {CHOICES}") from None
    except Exception as error:  # noqa: BLE001 - torch's reader fails on damaged bytes in whatever way they lead to
        # where the file holds more than tensors, torch's own words advise to load it unsafely
        reason = "" if "weights_only" in str(error) else f" ({first_line(error) or type(error).__name__})"
        raise ConfigError(f"model.weights={path}: not a state dict of tensors alone{reason}; {CHOICES}") from None
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"model.weights={path}: not a state dict of tensors; {CHOICES}")
    return dict(state)


def transfer(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    target = network.state_dict()
    features = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    missing = [name for name in target if name not in features and not name.startswith("fc.")]
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    unknown = [name for name in features if name not in target]
    misfit = [name for name, tensor in features.items() if name in target and tensor.shape != target[name].shape]
    if missing or unknown or misfit:
        problem = (
            f"{len(missing)} layers missing, {len(unknown)} unknown, {len(misfit)} of another shape "
            f"(first: {(missing + unknown + misfit)[0]})"
        )
        raise ConfigError(f"model.weights={origin}: not a ResNet18: {problem}; {CHOICES}")
    last = {name: state[name] for name in LAST_LAYER if name in state}
    if {name: tensor.shape for name, tensor in last.items()} == {name: target[name].shape for name in LAST_LAYER}:
        features |= last
    network.load_state_dict({name: tensor.to(target[name].dtype) for name, tensor in features.items()}, strict=False)


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of a state dict: names, types, shapes and bytes, in order of name."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        array = tensor.detach().cpu().contiguous()
        total.update(f"{name}|{array.dtype}|{tuple(array.shape)}|".encode())
        total.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def save_weights(path: Path, state: Mapping[str, Tensor], record: ModelRecord) -> None:
    """Write weights and record to one safetensors file, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_bytes(path, serialise(tensors, {"record": record.model_dump_json()}))
