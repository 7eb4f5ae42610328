"""The network, its weights on disk, and the record that travels with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from pneumonia.config.schema import CLASSES
from pneumonia.errors import DataError
from pneumonia.modelling._torchvision import models
from pneumonia.modelling.weights import imagenet_state, read_state, state_digest, transfer
from pneumonia.records.model import ModelRecord, first_line, read_record

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's reference statistics of ImageNet, RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)


def build_network(weights: str, seed: int) -> nn.Module:
    """Build torchvision's ResNet18 with a last layer of two classes.

    Args:
        weights: ``imagenet``, ``none`` or a file with a ResNet18 state dict (float32 or float16).
        seed: seed of everything that is drawn at random: all layers for ``none``, the last one otherwise.

    Raises:
        ConfigError: the weights cannot be had, or do not fit; the message names the choices.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = models().resnet18(weights=None, num_classes=len(CLASSES))
    if weights != "none":
        state = imagenet_state() if weights == "imagenet" else read_state(Path(weights))
        transfer(network, state, weights)
    return network


class FlipAveraged(nn.Module):
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


def assemble_network(state: Mapping[str, Tensor], *, mirror: bool) -> nn.Module:
    """A network of these weights, ready to be used: evaluation mode, float32, channels-last.

    Raises:
        RuntimeError: torch's own, where they are not those of a ResNet18 of two classes.
    """
    network = build_network("none", seed=0)
    network.load_state_dict(state)
    used: nn.Module = FlipAveraged(network) if mirror else network
    return used.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def load_model(path: Path) -> tuple[nn.Module, ModelRecord]:
    """Load a model to be used as its record says: evaluation mode, float32, channels-last.

    Raises:
        DataError: the file cannot be read, has no record, or its weights do not have the digest that it records.
    """
    record = read_record(path)
    state = load_file(path)
    if state_digest(state) != record.weights_digest:
        raise DataError(f"{path}: the weights do not have the digest in their record; fetch the file again")
    try:
        return assemble_network(state, mirror=record.mirror), record
    except RuntimeError as error:
        raise DataError(f"{path}: holds no ResNet18 of two classes ({first_line(error)}); name another file") from None
