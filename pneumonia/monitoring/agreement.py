"""Compute how far readers agree, with each other and with the model: Cohen's kappa, with its bootstrap interval.

Kappa is the agreement beyond chance (Cohen, Educational and Psychological Measurement 20, 1960). Of more than two
readers, who need not have read the same events, observed and chance agreement are averaged over the pairs of readers,
each pair weighing by the events that both labelled, before kappa is formed (pooled kappa: De Vries et al., Field
Methods 20, 2008); of two readers that is Cohen's. The interval is drawn by patient where
one is known, otherwise by event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES, EvaluationConfig
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.feedback import reader_labels, reviewed_events
from pneumonia.records.evaluation import Metric
from pneumonia.records.feedback import ReaderAgreement
from pneumonia.statistics.bootstrap import Sample

Pair = tuple[str, int, int]
"""Group that is drawn together, and the labels that two raters gave one event."""
_MODEL = ""  # among the readers, none of whom has an empty name


def read_agreement(
    database: Database, config: EvaluationConfig, name: str | None = None, model_digest: str | None = None
) -> ReaderAgreement:
    """Compute the agreement of all readers of a registered model's events, of one of its models', or of all."""
    events = {event.event_id: event for event in reviewed_events(database, name=name, model_digest=model_digest)}
    given: dict[str, dict[str, int]] = {}
    for event_id, reader, label in reader_labels(database, name, model_digest):
        if event_id in events:  # it may have been deleted between the two queries
            given.setdefault(event_id, {})[reader] = CLASSES.index(label)
    patients = {key: event.patient or event.image or key for key, event in events.items()}
    decisions = {key: CLASSES.index(event.decision) for key, event in events.items() if event.decision in CLASSES}
    return agreement_of(given, decisions, patients, config)


def agreement_of(
    given: Mapping[str, Mapping[str, int]],
    decisions: Mapping[str, int],
    patients: Mapping[str, str],
    config: EvaluationConfig,
) -> ReaderAgreement:
    """Compute agreement from labels.

    Args:
        given: of each event, each reader's label, 0 or 1.
        decisions: of the model, by event, 0 or 1.
        patients: of each event, what is drawn together.
        config: number of resamples, coverage, seed.
    """
    between: dict[tuple[str, str], list[Pair]] = {}
    with_model: dict[tuple[str, str], list[Pair]] = {}
    for event, labels in given.items():
        for one, other in combinations(sorted(labels), 2):
            between.setdefault((one, other), []).append((patients[event], labels[one], labels[other]))
        for reader, label in labels.items():
            if event in decisions:
                with_model.setdefault((reader, _MODEL), []).append((patients[event], label, decisions[event]))
    share, kappa = _agreement(list(between.values()), config)
    model_share, model_kappa = _agreement(list(with_model.values()), config)
    return ReaderAgreement(
        readers=len({reader for labels in given.values() for reader in labels}),
        events=sum(len(labels) > 1 for labels in given.values()),
        share=share,
        kappa=kappa,
        model_events=sum(event in decisions for event in given),
        model_share=model_share,
        model_kappa=model_kappa,
    )


def _agreement(pairs: Sequence[Sequence[Pair]], config: EvaluationConfig) -> tuple[Metric | None, Metric | None]:
    """Return the share of equal labels, and kappa; None where they are not defined."""
    if not pairs:
        return None, None
    groups = sorted({group for pair in pairs for group, _, _ in pair})
    place = {group: at for at, group in enumerate(groups)}
    tables = np.zeros((len(groups), len(pairs), 2, 2))
    for at, pair in enumerate(pairs):
        for group, one, other in pair:
            tables[place[group], at, one, other] += 1
    columns = np.arange(len(groups))
    sample = Sample(np.zeros(len(groups)), columns, len(groups), len(groups))
    values = _pooled(tables.sum(0)[None])[:, 0]
    drawn = [_pooled(np.tensordot(counts, tables, 1)) for counts in sample.resamples(config)]
    share, kappa = np.concatenate(drawn, axis=1)
    return _metric(values[0], share, config), _metric(values[1], kappa, config)


def _pooled(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return share and pooled kappa [2, b] of tables [b, pairs, 2, 2]; NaN where chance alone would agree."""
    count = tables.sum((2, 3))  # of the events that a pair has labelled
    with np.errstate(invalid="ignore", divide="ignore"):
        equal = (tables[..., 0, 0] + tables[..., 1, 1]).sum(1) / count.sum(1)
        by_chance = (tables.sum(3) * tables.sum(2)).sum(2) / count  # of each pair, times its events
        chance = np.nansum(by_chance, axis=1) / count.sum(1)
        kappa = (equal - chance) / (1 - chance)
    return np.stack([equal, np.where(1 - chance > 1e-12, kappa, np.nan)])


def _metric(value: float, drawn: NDArray[np.float64], config: EvaluationConfig) -> Metric | None:
    """Return a metric with its percentile interval; resamples in which it is not defined are left out."""
    known = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not known.size:
        return None
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Metric(value=float(value), low=float(low), high=float(high))
