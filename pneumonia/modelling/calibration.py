"""The operating point: a calibration and a threshold, from validation films that were changed as in training.

Plain validation films come from where the training films come from, shortcuts included: nearly all of them are told
apart, and a threshold that suits them is far too low or too high elsewhere. Changed at random, with the augmentation of
the training, they are harder. The test folder has no part in this.

Probabilities are right where both classes are equally likely. How likely PNEUMONIA is where a model is used is not
known here; whoever knows it adds the logarithm of its odds to the log odds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from pneumonia.config.schema import AugmentConfig, Config, EvaluateConfig
from pneumonia.modelling.augment import augment
from pneumonia.modelling.device import autocast, cpu_threads, pick_device
from pneumonia.modelling.network import assemble_network, normalise
from pneumonia.modelling.scoring import BATCH
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.weights import LAST_LAYER
from pneumonia.records.model import OperatingPoint
from pneumonia.statistics.bootstrap import Counts, Floats, Sample, intervals

SEED = 7_919
"""Of the changes; apart from those of the training, so that no change is met again."""
SHARPEST = 10.0
"""Of the factors by which margins are multiplied or divided: films told apart without an error have no best one."""


def calibrate(state: dict[str, Tensor], data: TrainingSet, config: Config) -> tuple[OperatingPoint, dict[str, Tensor]]:
    """The operating point of these weights, and the weights with its calibration in the last layer."""
    device = pick_device(config.train)
    network = assemble_network(state, mirror=config.evaluate.mirror).to(device)
    with cpu_threads(config.train.threads):
        point = find_operating_point(network, data, config.augment, config.evaluate, device)
    return point, apply_calibration(state, point)


def find_operating_point(
    network: nn.Module,
    data: TrainingSet,
    changes: AugmentConfig,
    config: EvaluateConfig,
    device: torch.device | None = None,
) -> OperatingPoint:
    """Find the point.

    Args:
        network: in evaluation mode, float32.
        data: its validation films are used; both classes must occur.
        changes: the augmentation of the training.
        config: how often each film is changed, the sensitivity to keep, and the bootstrap that says how surely.
        device: where the network is; the CPU by default.
    """
    held, truth = data.validation, data.labels[data.validation]
    found = margins(network, data.pixels, held, changes, config.perturbations, device)
    slope, bias = _platt(found, truth)
    scores = expit(found * slope + bias)
    threshold = _threshold(scores, truth, [data.patients[row] for row in held], config)
    return OperatingPoint(
        temperature=1 / slope,
        bias=bias,
        threshold=threshold,
        sensitivity=float((scores[:, truth == 1] >= threshold).mean()),
        specificity=float((scores[:, truth == 0] < threshold).mean()),
        auroc=float(np.mean([roc_auc_score(truth, draw) for draw in found])),
    )


@torch.inference_mode()
def margins(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    indices: NDArray[np.int64],
    changes: AugmentConfig,
    draws: int,
    device: torch.device | None = None,
    precision: str = "fp32",
    seed: int = SEED,
) -> NDArray[np.float64]:
    """Logit of PNEUMONIA minus that of NORMAL for films changed at random, float64 [draws, n]."""
    device = device or torch.device("cpu")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws):
        for start in range(0, len(indices), BATCH):
            films = torch.from_numpy(pixels[indices[start : start + BATCH]]).to(device).float().div_(255)
            with autocast(device, precision):
                logits = network(normalise(augment(films, changes, generator)))
            found.append((logits[:, 1].double() - logits[:, 0].double()).cpu().numpy())
    return np.concatenate(found).reshape(draws, len(indices))


def _platt(odds: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Slope and bias of the least cross-entropy, each class weighing the same: the prior elsewhere is not known."""
    counts = np.bincount(labels, minlength=2)
    # Platt's targets, short of 0 and 1, as if one more film of the other class had been seen
    target = np.where(labels == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    weight = 0.5 / counts[labels] / len(odds)
    centre = odds.mean()  # so that slope and bias can be found apart

    def loss(at: NDArray[np.float64]) -> float:
        found = (odds - centre) * np.exp(at[0]) + at[1]
        return float((weight * (np.logaddexp(0, found) - target * found)).sum())

    edge = np.log(SHARPEST)
    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-edge, edge), (-SHARPEST, SHARPEST)])
    slope = round(float(np.exp(found.x[0])), 4)
    return slope, round(float(found.x[1] - slope * centre), 4)


def _threshold(
    scores: NDArray[np.float64], labels: NDArray[np.int64], patients: Sequence[str], config: EvaluateConfig
) -> float:
    """The highest threshold at which the lower end of the sensitivity's interval is still the target.

    It is the lower end of the interval, by patient, of the highest threshold that keeps the target.
    """
    sample = Sample.of(labels, patients)
    ill = np.tile(sample.patient[labels == 1], len(scores))
    values = scores[:, labels == 1].ravel()
    order = np.argsort(values)

    def highest(counts: Counts) -> Floats:
        weights = counts[:, ill[order]]
        missed = np.cumsum(weights, axis=1) - weights  # below each value
        allowed = (1 - config.target_sensitivity) * weights.sum(axis=1, keepdims=True)
        found: Floats = values[order][(missed <= allowed).sum(axis=1) - 1]
        return found[None]

    (kept,) = intervals(sample, highest, config)
    # rounded down, so that it is written and read without a film changing sides
    return float(np.floor(kept.low * 1e4) / 1e4)


def apply_calibration(state: dict[str, Tensor], point: OperatingPoint) -> dict[str, Tensor]:
    """The weights with the calibration inside the last layer, so that every consumer's probabilities have it."""
    weight, bias = LAST_LAYER
    halves = torch.tensor([-point.bias / 2, point.bias / 2])
    return {
        **state,
        weight: state[weight] / point.temperature,
        bias: state[bias] / point.temperature + halves.to(state[bias]),
    }
