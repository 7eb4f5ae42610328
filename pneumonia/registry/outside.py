"""Register a version's metrics on images of other places, which say more about it than those of its own data set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pneumonia.errors import ConfigError
from pneumonia.records.evaluation import Metric, OutsideMetrics
from pneumonia.registry.models import Version
from pneumonia.tracking.client import mlflow_client, with_retries

TAG = "outside."
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")


def check_name(name: str) -> str:
    """Return the name of an outside set.

    Raises:
        ConfigError: it cannot be a tag's name.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"--outside {name}: name the set with letters, digits, - and _, at most 50 of them")
    return name


def describe(name: str, rows: str, found: Mapping[str, Any], metrics: Mapping[str, Metric]) -> OutsideMetrics:
    """Return the document of an evaluation (`pneumonia.evidence.labelled_evaluation.evaluate_folder`)."""
    return OutsideMetrics(
        name=name,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=rows,
        counts=found["counts"],
        patients=found["patients"],
        threshold=found["threshold"],
        metrics=dict(metrics),
    )


def register(uri: str, version: Version, found: OutsideMetrics) -> None:
    """Register the metrics with a version and its run; the same set again replaces them.

    Raises:
        TrackingError: the store cannot be reached.
    """
    client = mlflow_client(uri)

    def attempt() -> None:
        client.set_model_version_tag(version.name, version.version, f"{TAG}{found.name}", found.model_dump_json())
        for name, metric in found.metrics.items():
            for end, value in (("", metric.value), ("_low", metric.low), ("_high", metric.high)):
                client.log_metric(version.run_id, f"outside_{found.name}_{name}{end}", value)

    with_retries(uri, f"register the outside metrics of {version.uri}", attempt)


def registered(uri: str, version: Version) -> list[OutsideMetrics]:
    """Return the outside metrics of a version, by the names of the sets.

    Raises:
        TrackingError: the store cannot be reached.
    """
    client = mlflow_client(uri)
    tags = with_retries(
        uri,
        f"read the outside metrics of {version.uri}",
        lambda: dict(client.get_model_version(version.name, version.version).tags),
    )
    return of_tags(tags)


def of_tags(tags: Mapping[str, str]) -> list[OutsideMetrics]:
    """Return the outside metrics that a version's tags hold, by the names of the sets."""
    return [OutsideMetrics.model_validate_json(tags[key]) for key in sorted(tags) if key.startswith(TAG)]


def set_card(uri: str, version: Version, text: str) -> None:
    """Make a Markdown page the version's description, which MLflow's page of the version shows.

    Raises:
        TrackingError: the store cannot be reached.
    """
    client = mlflow_client(uri)
    with_retries(
        uri,
        f"describe {version.uri}",
        lambda: client.update_model_version(version.name, version.version, description=text),
    )
