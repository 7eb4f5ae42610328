"""Enter what an evaluation opens, and register what it says about a version at other places."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumonia.config.schema import Config
from pneumonia.errors import ConfigError, DataError
from pneumonia.inference.predictor import Predictor
from pneumonia.records.evaluation import Metric, Verdict
from pneumonia.registry import models, openings, outside
from pneumonia.registry.models import Version
from pneumonia.reporting.card import card
from pneumonia.statistics.metrics import METRICS
from pneumonia.tracking.client import check_store, download_artifact, load_json, store_is_new, tracking_uri

PURPOSE = "pneumonia evaluate"
MANIFEST = "data/manifest.csv"

check_name = outside.check_name


def enter(
    config: Config, predictor: Predictor, digests: Sequence[str], name: str | None, say: Callable[[str], None]
) -> None:
    """Enter the opening of each release set of which some images are scored, before their labels are read.

    Args:
        config: names the store.
        predictor: the model.
        digests: sha256 of the files that are scored.
        name: of the outside set that they are; None where they are none.
        say: called with a line about each opening.

    Raises:
        DataError: images of a release set, or ones that the model was trained on, are no outside set.
        TrackingError: the store cannot be used.
    """
    uri = tracking_uri(config)
    check_store(uri)
    sets = openings.recognised(uri, digests)
    if name is not None:
        _refuse_inside(uri, predictor, digests, name, sets)
    for rows in sets:
        number = openings.enter(
            uri,
            rows,
            weights=predictor.record.weights_digest,
            model=predictor.name,
            purpose=PURPOSE,
            demo=predictor.record.phantom or predictor.record.config.get("gate", {}).get("demo", False),
        )
        say(f"some of these images are of the release set {rows[:12]}: opening {number} of it (pneumonia openings)")


def _refuse_inside(uri: str, predictor: Predictor, digests: Sequence[str], name: str, sets: Sequence[str]) -> None:
    if sets:
        raise DataError(f"--outside {name}: some of these images are of the release set {sets[0][:12]}; leave them out")
    version = version_of(uri, predictor)
    with tempfile.TemporaryDirectory() as folder:
        path = download_artifact(uri, version.run_id, MANIFEST, Path(folder))
        known = {row["sha256"] for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))}
    if shared := known & set(digests):
        raise DataError(
            f"--outside {name}: {len(shared)} of the {len(digests)} images are in the data set that {version.uri} was "
            "made from; an outside set is of another place"
        )


def version_of(uri: str, predictor: Predictor) -> Version:
    """Return the registered version that a predictor was loaded from.

    Raises:
        ConfigError: it is from a file or a run.
    """
    if store_is_new(uri) or not predictor.version.isdecimal():
        raise ConfigError("--outside registers metrics with a version: name one with --model models:/NAME/VERSION")
    return models.get(uri, predictor.name, predictor.version)


def register(config: Config, predictor: Predictor, found: Mapping[str, Any], name: str) -> None:
    """Register the metrics of an outside set with the version, and write its card anew.

    Args:
        config: names the store.
        predictor: the version.
        found: of `pneumonia.evidence.labelled_evaluation.evaluate_folder`.
        name: of the set.

    Raises:
        TrackingError: the store cannot be used.
    """
    uri = tracking_uri(config)
    version = version_of(uri, predictor)
    metrics = {metric: Metric.model_validate(found[metric]) for metric in METRICS}
    outside.register(uri, version, outside.describe(name, found["rows"], found, metrics))
    verdict = Verdict.model_validate(load_json(uri, version.run_id, "report/verdict.json"))
    page = card(predictor.record, version.uri, outside.registered(uri, version), verdict.metrics, verdict.measured_on)
    outside.set_card(uri, version, page)
