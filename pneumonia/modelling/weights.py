"""Read initial weights, write trained ones, and compute the digests of both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from pneumonia.errors import ConfigError
from pneumonia.files import is_regular_file, write_bytes
from pneumonia.records.model import ModelRecord, first_line

LAST_LAYER = ("fc.weight", "fc.bias")

CHOICES = (
    "choose model.weights=imagenet (torchvision's, downloaded once), model.weights=FILE (a state dict of the "
    "architecture, .safetensors or .pt) or model.weights=none (random start)"
)


def weights_origin(weights: str) -> str:
    """Identify initial weights: sha256 in hex of a file's content, or the configured word (imagenet, none)."""
    file = Path(weights)
    return hashlib.sha256(file.read_bytes()).hexdigest() if is_regular_file(file) else weights


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict without executing code from the file.

    Raises:
        ConfigError: the file cannot be read, or holds more than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"model.weights={path}: cannot be read ({error.strerror or error}); {CHOICES}") from None
    except Exception as error:  # noqa: BLE001 - torch's reader may raise anything on damaged bytes
        # torch's message on a file with more than tensors recommends an unsafe load, so it is left out
        reason = "" if "weights_only" in str(error) else f" ({first_line(error) or type(error).__name__})"
        raise ConfigError(f"model.weights={path}: not a state dict of tensors alone{reason}; {CHOICES}") from None
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"model.weights={path}: not a state dict of tensors; {CHOICES}")
    return dict(state)


def transfer(network: nn.Module, state: Mapping[str, Tensor], architecture: str, origin: str) -> None:
    """Load initial weights into a network; the last layer only where its number of classes matches.

    Raises:
        ConfigError: the weights are of another architecture; `origin` names them in the message.
    """
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
        raise ConfigError(f"model.weights={origin}: not a {architecture}: {problem}; {CHOICES}")
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
    """Write weights and record to one safetensors file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_bytes(path, serialise(tensors, {"record": record.model_dump_json()}))
