"""Find the operating point, a calibration and a threshold, on augmented validation images.

Unaugmented validation images have the same origin as the training images, and so the same shortcuts: nearly all of them
are classified correctly, and a threshold chosen on them is far too low or too high for other images. With the
augmentation of the training they are harder. The test folder is not used.

The probabilities are calibrated for classes that are equally likely, because the prevalence of PNEUMONIA where a model
is used is unknown here; where it is known, add the logarithm of its odds to the log odds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from pneumonia.config.schema import AugmentConfig, Config, EvaluationConfig, OperatingPointConfig
from pneumonia.data.images import Images
from pneumonia.modelling.augment import augment
from pneumonia.modelling.device import CPU, Compute, kept_memory
from pneumonia.modelling.network import assemble_network
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.weights import LAST_LAYER
from pneumonia.records.model import OperatingPoint
from pneumonia.statistics.bootstrap import Counts, Floats, Sample, intervals
from pneumonia.timing import timed

BATCH = 64
"""Images that are augmented together; their random numbers depend on it."""
SEED = 7_919
"""Seed of the augmentation; other than the training's, so that no draw is repeated."""
INTERVAL = EvaluationConfig(bootstrap=2000, confidence=0.95, seed=0)
"""The interval whose lower end the threshold is; apart from the reported ones, so that these change no model."""
MAX_SLOPE = 10.0
"""Largest factor by which margins are multiplied or divided: perfectly separated images have no optimal one."""


@timed("calibration")
def calibrate(state: dict[str, Tensor], data: TrainingSet, config: Config) -> tuple[OperatingPoint, dict[str, Tensor]]:
    """Find the operating point of these weights; return it, and the weights with its calibration in the last layer."""
    network = assemble_network(state, config.model.architecture, flip_tta=config.operating_point.flip_tta)
    compute = Compute.of(config.train, precision="fp32")
    point = find_operating_point(network, data.validation, config.augment, config.operating_point, compute)
    return point, apply_calibration(state, point)


def find_operating_point(
    network: nn.Module, images: Images, changes: AugmentConfig, config: OperatingPointConfig, compute: Compute = CPU
) -> OperatingPoint:
    """Fit the calibration and choose the threshold.

    Args:
        network: in evaluation mode.
        images: of validation; both classes must occur.
        changes: the augmentation of the training.
        config: augmented copies of each image, and target sensitivity.
        compute: device, precision, threads.
    """
    truth = images.labels
    found = margins(network, images, changes, config.perturbations, compute)
    slope, bias = fit_platt(found, truth)
    scores = expit(found * slope + bias)
    threshold = choose_threshold(scores, truth, images.patients, images.copies, config.target_sensitivity)
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
    network: nn.Module, images: Images, changes: AugmentConfig, draws: int, compute: Compute = CPU, seed: int = SEED
) -> NDArray[np.float64]:
    """Return the logit of PNEUMONIA minus that of NORMAL for augmented images, float64 [draws, n]."""
    network = network.to(compute.device)
    generator = torch.Generator().manual_seed(seed)
    found = []
    with compute.limited(), kept_memory():
        for _ in range(draws):
            for start in range(0, len(images), BATCH):
                batch = compute.images(images.pixels[images.rows[start : start + BATCH]])
                with compute.autocast():
                    logits = network(augment(batch, changes, generator))
                found.append((logits[:, 1].double() - logits[:, 0].double()).cpu().numpy())
    return np.concatenate(found).reshape(draws, len(images))


def fit_platt(odds: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Fit slope and bias by cross-entropy with equal weights of the classes, because the prevalence is unknown."""
    counts = np.bincount(labels, minlength=2)
    # Platt's targets, slightly inside 0 and 1, as if there were one more image of the other class
    target = np.where(labels == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    weight = 0.5 / counts[labels] / len(odds)
    centre = odds.mean()  # centred, so that slope and bias are nearly independent

    def loss(at: NDArray[np.float64]) -> float:
        found = (odds - centre) * np.exp(at[0]) + at[1]
        return float((weight * (np.logaddexp(0, found) - target * found)).sum())

    edge = np.log(MAX_SLOPE)
    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-edge, edge), (-MAX_SLOPE, MAX_SLOPE)])
    slope = round(float(np.exp(found.x[0])), 4)
    return slope, round(float(found.x[1] - slope * centre), 4)


def choose_threshold(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    patients: Sequence[str],
    copies: ArrayLike | None,
    target: float,
) -> float:
    """Return the highest threshold at which the lower end of the sensitivity's interval is at least the target.

    It is the lower end of the interval, by patient, of the highest threshold with the target sensitivity.

    Args:
        scores: [draws, n], probabilities of each image.
        labels: [n], 1 for PNEUMONIA.
        patients, copies: [n], see `pneumonia.statistics.bootstrap.Sample`.
        target: the sensitivity.
    """
    sample = Sample.of(labels, patients, copies)
    positive = np.tile(sample.patient[labels == 1], len(scores))
    values = scores[:, labels == 1].ravel()
    order = np.argsort(values)

    def highest(counts: Counts) -> Floats:
        weights = counts[:, positive[order]]
        missed = np.cumsum(weights, axis=1) - weights  # below each value
        allowed = (1 - target) * weights.sum(axis=1, keepdims=True)
        found: Floats = values[order][(missed <= allowed).sum(axis=1) - 1]
        return found[None]

    (kept,) = intervals(sample, highest, INTERVAL)
    # rounded down, so that writing and reading it changes no decision
    return float(np.floor(kept.low * 1e4) / 1e4)


def apply_calibration(state: dict[str, Tensor], point: OperatingPoint) -> dict[str, Tensor]:
    """Return the weights with the calibration in the last layer, so that every consumer's probabilities include it."""
    weight, bias = LAST_LAYER
    halves = torch.tensor([-point.bias / 2, point.bias / 2])
    return {
        **state,
        weight: state[weight] / point.temperature,
        bias: state[bias] / point.temperature + halves.to(state[bias]),
    }
