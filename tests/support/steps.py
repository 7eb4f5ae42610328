"""A small run of the four steps, as any orchestrator would make it."""

from __future__ import annotations

from pneumonia.config.schema import Config
from pneumonia.records.steps import Dataset, ExportedModel, Promotion, TrainedModel, Validation
from tasks.export_model import export_model
from tasks.prepare_data import prepare_data
from tasks.promote_model import promote_model
from tasks.train_model import train_model
from tasks.validate_model import validate_model


def exported(dataset: Dataset, trained: TrainedModel, config: Config) -> ExportedModel:
    """The export of a trained model, made once."""
    return export_model(dataset, trained, config)


def run(config: Config, **options: bool) -> tuple[Dataset, TrainedModel, Validation, Promotion]:
    dataset = prepare_data(config)
    trained = train_model(dataset, config, **options)
    graphs = exported(dataset, trained, config)
    validation = validate_model(dataset, trained, graphs, config)
    return dataset, trained, validation, promote_model(trained, graphs, validation, config)
