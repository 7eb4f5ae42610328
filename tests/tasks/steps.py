"""A small run of the four steps, as any orchestrator would make it."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config import Config, resolve
from tasks.documents import Dataset, Promotion, TrainedModel, Validation
from tasks.prepare_data import prepare_data
from tasks.promote_model import promote_model
from tasks.train_model import train_model
from tasks.validate_model import validate_model

SMALL = (
    "data.root=phantom",
    "phantom.train=64",
    "phantom.test=32",
    "phantom.size=64",
    "preprocess.size=32",
    "train.epochs=2",
    "train.batch_size=16",
    "train.threads=1",
    "evaluate.bootstrap=100",
    "tracking.system_metrics=false",
)
OPEN_GATE = ("gate.min_auroc=0", "gate.min_sensitivity=0", "gate.min_specificity=0")


def small(work: Path, *assignments: str) -> Config:
    return resolve("fast", assignments=[*SMALL, *OPEN_GATE, f"work={work}", *assignments], environment={})


def run(config: Config, **options: bool) -> tuple[Dataset, TrainedModel, Validation, Promotion]:
    dataset = prepare_data(config)
    trained = train_model(dataset, config, **options)
    validation = validate_model(dataset, trained, config)
    return dataset, trained, validation, promote_model(dataset, trained, validation, config)
