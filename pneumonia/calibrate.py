"""The operating point: a temperature and a threshold, from validation films that were changed as in training.

Plain validation films come from where the training films come from, shortcuts included: nearly all of them are told
apart, and a threshold that suits them is far too low or too high elsewhere. Changed at random, in exactly the way that
augmentation changes training films, they are as hard as films from another hospital, or harder. The test folder has no
part in this.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from pneumonia import model
from pneumonia.augment import augment
from pneumonia.config import AugmentConfig, EvaluateConfig
from pneumonia.scoring import BATCH

SEED = 7_919
"""Of the changes; apart from those of the training, so that no change is met again."""


class OperatingPoint(BaseModel):
    """Where a network is to be used, and what it came to on the changed validation films.

    Attributes:
        temperature: to divide the logits by (Guo et al. 2017, "On Calibration of Modern Neural Networks").
        threshold: probability of PNEUMONIA after that, 0 to 1, from which a film is called PNEUMONIA.
        sensitivity, specificity, auroc: at this point, all draws together; the AUROC is the mean over draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float
    threshold: float
    sensitivity: float
    specificity: float
    auroc: float


def operating_point(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    changes: AugmentConfig,
    config: EvaluateConfig,
    device: torch.device | None = None,
) -> OperatingPoint:
    """Find the point.

    Args:
        network: in evaluation mode, float32.
        pixels: uint8 [N, S, S].
        labels: int64 [N].
        indices: int64 [n], the validation films; both classes must occur.
        changes: the augmentation of the training.
        config: how often each film is changed, and the sensitivity to keep.
        device: where the network is; the CPU by default.
    """
    margins = perturbed_margins(network, pixels, indices, changes, config.perturbations, device)
    truth = labels[indices]
    temperature = _temperature(margins, truth)
    scores = 1 / (1 + np.exp(-margins / temperature))
    ill, well = scores[:, truth == 1].ravel(), scores[:, truth == 0].ravel()
    # rounded down, so that it is written and read without a film changing sides
    threshold = float(np.floor(np.quantile(ill, 1 - config.target_sensitivity, method="lower") * 1e4) / 1e4)
    return OperatingPoint(
        temperature=temperature,
        threshold=threshold,
        sensitivity=float((ill >= threshold).mean()),
        specificity=float((well < threshold).mean()),
        auroc=float(np.mean([roc_auc_score(truth, draw) for draw in margins])),
    )


@torch.inference_mode()
def perturbed_margins(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    indices: NDArray[np.int64],
    changes: AugmentConfig,
    draws: int,
    device: torch.device | None = None,
) -> NDArray[np.float64]:
    """Logit of PNEUMONIA minus that of NORMAL for films changed at random, float64 [draws, n]."""
    device = device or torch.device("cpu")
    generator = torch.Generator().manual_seed(SEED)
    found = []
    for _ in range(draws):
        for start in range(0, len(indices), BATCH):
            films = torch.from_numpy(pixels[indices[start : start + BATCH]]).to(device).float().div_(255)
            logits = network(model.normalise(augment(films, changes, generator))).double()
            found.append((logits[:, 1] - logits[:, 0]).cpu().numpy())
    return np.concatenate(found).reshape(draws, len(indices))


def _temperature(margins: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature of the least cross-entropy, each class weighing the same, as in the training's prior."""
    values = torch.from_numpy(margins)
    truth = torch.from_numpy(labels).double().expand_as(values)
    weight = torch.where(truth == 1, 0.5 / (labels == 1).mean(), 0.5 / (labels == 0).mean())
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 201))

    def loss(temperature: float) -> float:
        return float(F.binary_cross_entropy_with_logits(values / temperature, truth, weight))

    return round(float(min(grid, key=loss)), 4)


def apply_temperature(state: dict[str, Tensor], temperature: float) -> dict[str, Tensor]:
    """The weights with the temperature inside the last layer, so that every consumer's probabilities are calibrated."""
    return {name: tensor / temperature if name in model.LAST_LAYER else tensor for name, tensor in state.items()}
