"""Compute an epoch's metrics on the validation images."""

from __future__ import annotations

import numpy as np
from torch import nn

from pneumonia.data.images import Images
from pneumonia.modelling.device import Compute
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.records.epoch import EPOCH_THRESHOLD


def validation_metrics(network: nn.Module, images: Images, compute: Compute) -> dict[str, float]:
    """Return the metrics of `pneumonia.records.epoch.Epoch` that validation images give.

    Args:
        network: two outputs; afterwards in evaluation mode.
        images: both classes must occur.
        compute: device and precision.
    """
    from sklearn.metrics import roc_auc_score  # which takes a second to load, and most workers validate nothing

    labels = images.labels
    positive = predict_probabilities(network, images.pixels, images.rows, compute)
    likelihood = np.where(labels == 1, positive, 1 - positive).clip(1e-7)
    predicted = positive >= EPOCH_THRESHOLD
    hits = int((predicted & (labels == 1)).sum())
    precision = hits / max(int(predicted.sum()), 1)
    recall = hits / int((labels == 1).sum())
    return {
        "val_loss": float(-np.log(likelihood).mean()),
        "val_accuracy": float((predicted == (labels == 1)).mean()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "auroc": float(roc_auc_score(labels, positive)) if np.isfinite(positive).all() else float("nan"),
    }
