"""A configuration whose whole pipeline takes seconds, and whose model always passes."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config

SMALL = (
    "data.root=phantom",
    "model.architecture=tiny",
    "phantom.train=64",
    "phantom.test=32",
    "phantom.size=64",
    "preprocess.size=32",
    "train.epochs=2",
    "train.batch_size=16",
    "train.threads=1",
    "evaluation.bootstrap=100",
    "tracking.system_metrics=false",
)
OPEN_GATE = ("gate.min_auroc=0", "gate.min_sensitivity=0", "gate.min_specificity=0", "gate.max_shortcut_dependence=2")


def small(work: Path, *assignments: str) -> Config:
    return resolve("fast", assignments=[*SMALL, *OPEN_GATE, f"work={work}", *assignments], environment={})
