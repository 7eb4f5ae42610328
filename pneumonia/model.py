"""The network, its weights on disk, and the record that travels with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from pneumonia import _torchvision
from pneumonia.config.schema import CLASSES
from pneumonia.errors import ConfigError, DataError
from pneumonia.files import write_bytes
from pneumonia.records.model import ModelRecord, first_line, read_record

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's reference statistics of ImageNet, RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)
LAST_LAYER = ("fc.weight", "fc.bias")
CHOICES = (
    "choose model.weights=imagenet (torchvision's, downloaded once), model.weights=FILE (a ResNet18 state dict, "
    ".safetensors or .pt) or model.weights=none (random start)"
)


def build(weights: str, seed: int) -> nn.Module:
    """Build torchvision's ResNet18 with a last layer of two classes.

    Args:
        weights: ``imagenet``, ``none`` or a file with a ResNet18 state dict (float32 or float16).
        seed: seed of everything that is drawn at random: all layers for ``none``, the last one otherwise.

    Raises:
        ConfigError: the weights cannot be had, or do not fit; the message names the choices.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = _torchvision.models().resnet18(weights=None, num_classes=len(CLASSES))
    if weights != "none":
        state = _imagenet() if weights == "imagenet" else _read_state(Path(weights))
        _transfer(network, state, weights)
    return network


def origin(weights: str) -> str:
    """Name initial weights by what they are: sha256 in hex of a file's content, or the word that chooses them."""
    file = Path(weights)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else weights


def _imagenet() -> dict[str, Tensor]:
    weights = _torchvision.models().ResNet18_Weights.IMAGENET1K_V1
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, or a download that does not match its hash
        raise ConfigError(f"model.weights=imagenet: {weights.url} cannot be had ({error}); {CHOICES}") from None
    return state


def _read_state(path: Path) -> dict[str, Tensor]:
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


def _transfer(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
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


class Mirrored(nn.Module):
    """The mean of the logits of a film and of its mirror image: a lung is as ill on the left as on the right."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, 2] of images [B, 3, H, W]."""
        both: Tensor = self.network(images) + self.network(images.flip(-1))
        return both / 2


def normalise(pixels: Tensor) -> Tensor:
    """Turn grey images into the network's input.

    Args:
        pixels: [B, H, W], uint8 in 0..255 or float in 0..1.

    Returns:
        float [B, 3, H, W] in channels-last layout, each channel standardised with ImageNet's mean and deviation.
    """
    grey = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels
    mean, deviation = grey.new_tensor(IMAGENET_MEAN), grey.new_tensor(IMAGENET_STD)
    # computed as [B, H, W, 3] so that the permuted view is channels-last without a copy
    return grey.unsqueeze(-1).sub(mean).div_(deviation).permute(0, 3, 1, 2)


def forward_grey(network: nn.Module, images: Tensor) -> Tensor:
    """Compute ``network(normalise(images))`` more cheaply: the same function but for rounding.

    The normalised channels of a grey film are linear functions of one standardised channel and of a constant, which is
    a channel of its own because the convolution pads with zeros after the normalisation: two input channels do the work
    of three. Taking the maximum and rectifying commute, in their gradients too, and after the pooling there are four
    times fewer values to rectify.

    Args:
        network: from `build`, in training or evaluation mode.
        images: float [B, H, W] in 0..1.

    Returns:
        logits [B, 2].
    """
    resnet: Any = network
    mean, deviation = images.new_tensor(IMAGENET_MEAN), images.new_tensor(IMAGENET_STD)
    weight = resnet.conv1.weight / deviation[:, None, None]
    centre, spread = mean.mean(), deviation.mean()
    channels = [weight.sum(1) * spread, (weight * (centre - mean)[:, None, None]).sum(1)]
    film = images.new_ones(*images.shape, 2)
    torch.sub(images, centre, out=film[..., 0]).div_(spread)
    values = F.conv2d(film.permute(0, 3, 1, 2), torch.stack(channels, 1), stride=2, padding=3)
    values = resnet.relu(resnet.maxpool(resnet.bn1(values)))
    values = resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(values))))
    logits: Tensor = resnet.fc(resnet.avgpool(values).flatten(1))
    return logits


def digest(state: Mapping[str, Tensor]) -> str:
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


def assemble(state: Mapping[str, Tensor], *, mirror: bool) -> nn.Module:
    """A network of these weights, ready to be used: evaluation mode, float32, channels-last.

    Raises:
        RuntimeError: torch's own, where they are not those of a ResNet18 of two classes.
    """
    network = build("none", seed=0)
    network.load_state_dict(state)
    used: nn.Module = Mirrored(network) if mirror else network
    return used.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def load_weights(path: Path) -> tuple[nn.Module, ModelRecord]:
    """Load a model to be used as its record says: evaluation mode, float32, channels-last.

    Raises:
        DataError: the file cannot be read, has no record, or its weights do not have the digest that it records.
    """
    record = read_record(path)
    state = load_file(path)
    if digest(state) != record.weights_digest:
        raise DataError(f"{path}: the weights do not have the digest in their record; fetch the file again")
    try:
        return assemble(state, mirror=record.mirror), record
    except RuntimeError as error:
        raise DataError(f"{path}: holds no ResNet18 of two classes ({first_line(error)}); name another file") from None
