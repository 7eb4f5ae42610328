"""Classify a file's content as most projects do: Pillow to RGB, torchvision's transforms, ResNet18 in eager torch.

The peers of `benchmarks/serving.py` share it, so that they differ in the server alone. The network and the transforms
are torchvision's, operator by operator; they are written out because torchvision cannot be installed beside every build
of torch. Mirror averaging and equalisation are the served model's, so that the answers are too.
"""

from __future__ import annotations

import io
import json
import os

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as torchvision's weights ask for
WEIGHTS = "PEER_WEIGHTS"
"""Environment variable that names the weights file."""


class Block(nn.Module):
    """torchvision's BasicBlock."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(nn.Module):
    """torchvision's resnet18 with two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, 2] of images [B, 3, H, W]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Classifier:
    """A model of this project, loaded as its record says."""

    def __init__(self, path: str | None = None) -> None:
        path = path or os.environ[WEIGHTS]
        with safe_open(path, "pt") as file:
            record = json.loads(file.metadata()["record"])
        if record["architecture"] != "resnet18":
            raise ValueError(f"{path}: is a {record['architecture']}; the peers run resnet18 alone")
        self.size, self.equalize = record["preprocess"]["size"], record["preprocess"]["equalize"]
        self.flip_tta, self.threshold = record["flip_tta"], record["threshold"]
        self.network = ResNet18().eval()
        self.network.load_state_dict(load_file(path))

    def open(self, content: bytes) -> Tensor:
        """Return a file's pixels, float [1, 3, S, S]: Resize, ToTensor and Normalize."""
        return self.transform(Image.open(io.BytesIO(content)))

    def transform(self, image: Image.Image) -> Tensor:
        """Return an image's pixels, float [1, 3, S, S]."""
        image = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        if self.equalize:
            image = ImageOps.equalize(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return ((pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]

    @torch.inference_mode()
    def probability(self, images: Tensor) -> float:
        """Return the probability of PNEUMONIA of one image."""
        logits = self.network(images)
        if self.flip_tta:
            logits = (logits + self.network(images.flip(-1))) / 2
        return float(logits.softmax(1)[0, 1])

    def answer(self, images: Tensor) -> dict[str, object]:
        """Return what a server answers."""
        probability = self.probability(images)
        return {"probability": probability, "decision": "PNEUMONIA" if probability >= self.threshold else "NORMAL"}
