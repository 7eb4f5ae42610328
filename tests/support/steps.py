"""A small run of the pipeline's steps, as any orchestrator would make it."""

from __future__ import annotations

from pneumonia.config.schema import Config
from pneumonia.records.steps import BuiltDossier, Dataset, ExportedModel, Promotion, TrainedModel, Validation
from tasks.build_dossier import build_dossier
from tasks.export_model import export_model
from tasks.prepare_data import prepare_data
from tasks.promote_model import promote_model
from tasks.train_model import train_model
from tasks.validate_model import validate_model


def exported(dataset: Dataset, trained: TrainedModel, config: Config) -> ExportedModel:
    """The export of a trained model, made once."""
    return export_model(dataset, trained, config)


def built(dataset: Dataset, trained: TrainedModel, validation: Validation, config: Config) -> BuiltDossier:
    """The dossier of a validated model."""
    return build_dossier(dataset, trained, exported(dataset, trained, config), validation, config)


def promoted(dataset: Dataset, trained: TrainedModel, validation: Validation, config: Config) -> Promotion:
    """The promotion of a validated model, with its export and its dossier."""
    dossier = built(dataset, trained, validation, config)
    return promote_model(trained, exported(dataset, trained, config), validation, dossier, config)


def run(config: Config, **options: bool) -> tuple[Dataset, TrainedModel, Validation, Promotion]:
    dataset = prepare_data(config)
    trained = train_model(dataset, config, **options)
    graphs = exported(dataset, trained, config)
    validation = validate_model(dataset, trained, graphs, config)
    return dataset, trained, validation, promoted(dataset, trained, validation, config)
