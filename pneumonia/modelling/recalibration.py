"""Find a model's operating point anew, from labels that readers gave. The network stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pneumonia.errors import DataError
from pneumonia.modelling.calibration import choose_threshold, fit_platt
from pneumonia.records.model import ModelRecord

FEWEST = 10
"""Labels of each class without which nothing is fitted."""


def recalibrated(
    record: ModelRecord,
    margins: NDArray[np.float64],
    labels: NDArray[np.uint8],
    patients: Sequence[str],
    target: float,
) -> dict[str, float]:
    """Return the settings of an operating point: temperature, bias and threshold, as `config.operating_point` has them.

    The margins are those of the model in use, which its own calibration has made of the network's; both are joined.

    Args:
        record: of the model in use.
        margins: float64 [n], its logit of PNEUMONIA less that of NORMAL.
        labels: [n], 1 for PNEUMONIA.
        patients: [n], keys of the patients.
        target: sensitivity that the threshold keeps, at the lower end of its interval.

    Raises:
        DataError: too few labels of a class.
    """
    counts = np.bincount(labels, minlength=2)
    if counts.min() < FEWEST:
        raise DataError(f"{counts[0]} NORMAL and {counts[1]} PNEUMONIA are labelled; {FEWEST} of each are needed")
    truth = labels.astype(np.int64)
    slope, bias = fit_platt(margins[None], truth)
    scores = expit(margins * slope + bias)[None]
    before = record.calibration or {}
    return {
        "temperature": before.get("temperature", 1.0) / slope,
        "bias": before.get("bias", 0.0) * slope + bias,
        "threshold": choose_threshold(scores, truth, tuple(patients), None, target),
    }
