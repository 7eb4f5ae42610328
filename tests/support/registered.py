"""Registered models, as a training leaves them, without one, and what their registry then looks like."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import NamedTuple

from pneumonia.config.schema import Config
from pneumonia.records.export import EXPORT_FOLDER, MODEL_RECORD
from pneumonia.records.model import ModelRecord
from pneumonia.registry import models, moves, registration
from pneumonia.registry.mirror import read_export
from pneumonia.registry.models import Version
from pneumonia.registry.moves import Outcome
from pneumonia.tracking.client import mlflow_client, tracking_uri
from pneumonia.tracking.experiments import open_experiment
from tests.support.trained import record_of

NAME = "pneumonia-resnet18"


def registered(uri: str, name: str = NAME, weights: str = "", **record: object) -> Version:
    """Register a model of a run of its own, which has passed the gate."""
    return _registered(uri, record_of(name, weights or uuid.uuid4().hex, **record))


def exported(config: Config, folder: Path, **record: object) -> Version:
    """Register the model whose export a folder holds, with these files."""
    uri = tracking_uri(config)
    client = mlflow_client(uri)
    described = ModelRecord.model_validate_json((folder / MODEL_RECORD).read_text(encoding="utf-8"))
    version = _registered(uri, described.model_copy(update=record), open_experiment(client, config))
    client.log_artifacts(version.run_id, str(folder), EXPORT_FOLDER)
    return registration.register_export(uri, version, read_export(folder).digest())


def _registered(uri: str, record: ModelRecord, experiment: str = "0") -> Version:
    client = mlflow_client(uri)
    run = client.create_run(experiment, tags={"verdict": "passed"}).info.run_id
    model = client.create_logged_model(experiment, "model", source_run_id=run)
    client.finalize_logged_model(model.model_id, "READY")
    return registration.register(uri, record, run, f"models:/{model.model_id}")


def champion_of(uri: str, name: str = NAME) -> str | None:
    """The number of the version with the alias champion."""
    held = models.champion(uri, name)
    return None if held is None else held.version


def promote(uri: str, version: str, name: str = NAME, who: str = "ada", why: str = "it is better") -> Outcome:
    """Promote a version that was compared with the present champion; again, where that has moved meanwhile."""
    while True:
        try:
            return moves.promote(uri, name, version, who, why, against=champion_of(uri, name))
        except moves.ChampionMoved:
            continue


def promoted(uri: str, count: int, name: str = NAME) -> list[Version]:
    """Register and promote versions, one after the other."""
    versions = [registered(uri, name) for _ in range(count)]
    for version in versions:
        promote(uri, version.version, name)
    return versions


class State(NamedTuple):
    """The aliases, the ledger's moves, and the withdrawn versions by the ledger and by their tags."""

    aliases: dict[str, str]
    moves: list[tuple[str, str | None, str]]
    withdrawn: set[str]
    tagged: set[str]


def state(uri: str, name: str = NAME) -> State:
    model = mlflow_client(uri).get_registered_model(name)
    return State(
        {alias: str(version) for alias, version in model.aliases.items()},
        [(move.action, move.from_version, move.to_version) for move in models.history(uri, name)],
        set(moves.standing(uri, name).withdrawn),
        {version.version for version in models.versions(uri, name) if version.withdrawn},
    )


def assert_one_order(uri: str, name: str = NAME) -> None:
    """Each move goes on from the one before, and the aliases are what the ledger amounts to."""
    found = state(uri, name)
    assert [move[1] for move in found.moves] == [None, *(move[2] for move in found.moves[:-1])]
    line = moves.standing(uri, name).line
    assert found.aliases == dict(zip(("champion", "previous"), reversed(line[-2:]), strict=False))
    assert found.withdrawn == found.tagged
