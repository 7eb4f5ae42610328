"""Agreement of readers: against Cohen's kappa as scikit-learn computes it, and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from pneumonia.config.schema import EvaluationConfig
from pneumonia.monitoring.agreement import agreement_of, read_agreement
from pneumonia.monitoring.events import add_events
from pneumonia.monitoring.feedback import give_feedback
from tests.support.events import database_in, event

CONFIG = EvaluationConfig(bootstrap=1000)


def drawn(events: int, readers: int, error: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth [events], and labels [events, readers] with errors."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=events)
    return truth, truth[:, None] ^ (rng.random((events, readers)) < error)


def as_given(labels: np.ndarray) -> dict[str, dict[str, int]]:
    return {f"e{at}": {f"r{one}": int(label) for one, label in enumerate(row)} for at, row in enumerate(labels)}


def test_two_readers_have_cohens_kappa() -> None:
    truth, labels = drawn(200, 2, 0.15)
    own = {f"e{at}": f"e{at}" for at in range(200)}
    decisions = {f"e{at}": int(label) for at, label in enumerate(truth)}
    found = agreement_of(as_given(labels), decisions, own, CONFIG)
    assert found.kappa is not None
    assert found.share is not None
    assert found.model_kappa is not None
    assert found.kappa.value == pytest.approx(cohen_kappa_score(labels[:, 0], labels[:, 1]))
    assert found.share.value == pytest.approx((labels[:, 0] == labels[:, 1]).mean())
    assert found.kappa.low < found.kappa.value < found.kappa.high
    assert (found.readers, found.events, found.model_events) == (2, 200, 200)
    each = [cohen_kappa_score(labels[:, one], truth) for one in range(2)]
    assert min(each) <= found.model_kappa.value <= max(each)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Balanced classes and errors of 15 % give a kappa of 1 − 2 · 2 · 0.15 · 0.85 = 0.49."""
    inside = 0
    for seed in range(200):
        _, labels = drawn(150, 2, 0.15, seed)
        found = agreement_of(as_given(labels), {}, {f"e{at}": f"e{at}" for at in range(150)}, CONFIG).kappa
        assert found is not None
        inside += found.low <= 0.49 <= found.high
    assert 0.90 * 200 <= inside <= 0.99 * 200  # 95 % of 200 is 190, with a standard error of 3


def test_readers_of_different_events_are_pooled() -> None:
    """Pair r0-r1 has 2 of 2 equal, chance 0.5; pair r1-r2 has 1 of 2 equal, chance 0.5."""
    given = {
        "a": {"r0": 0, "r1": 0},
        "b": {"r0": 1, "r1": 1},
        "c": {"r1": 0, "r2": 0},
        "d": {"r1": 0, "r2": 1},
        "e": {"r9": 1},
    }
    found = agreement_of(given, {}, {key: key for key in given}, CONFIG)
    assert found.share is not None
    assert found.kappa is not None
    assert (found.readers, found.events) == (4, 4)
    assert found.share.value == 0.75
    assert found.kappa.value == pytest.approx((0.75 - 0.5) / 0.5)


def test_images_of_one_patient_make_the_interval_wider() -> None:
    _, labels = drawn(40, 2, 0.15)
    given = as_given(np.repeat(labels, 5, axis=0))
    alone = agreement_of(given, {}, {key: key for key in given}, CONFIG).kappa
    joined = agreement_of(given, {}, {key: f"p{int(key[1:]) // 5}" for key in given}, CONFIG).kappa
    assert alone is not None
    assert joined is not None
    assert alone.value == joined.value
    assert joined.high - joined.low > 1.5 * (alone.high - alone.low)


def test_without_two_labels_or_two_classes_there_is_no_kappa() -> None:
    nothing = agreement_of({}, {}, {}, CONFIG)
    assert nothing.kappa is None
    assert nothing.share is None
    assert nothing.model_kappa is None
    alike = agreement_of({"a": {"x": 1, "y": 1}}, {}, {"a": "a"}, CONFIG)
    assert alike.kappa is None
    assert alike.share is not None
    assert alike.share.value == 1.0


def test_agreement_is_read_from_the_database(tmp_path: Path) -> None:
    database = database_in(tmp_path)
    rows = [event(at=float(at), decision=("NORMAL", "PNEUMONIA")[at % 2]) for at in range(12)]
    add_events(database, rows)
    for at, row in enumerate(rows):
        give_feedback(database, row.event_id, "one", "agree")
        give_feedback(database, row.event_id, "two", "disagree" if at < 3 else "agree")
        give_feedback(database, row.event_id, "three", "disagree", role="adjudicator")
    found = read_agreement(database, CONFIG, "pneumonia")
    assert found.share is not None
    assert found.share.value == 0.75
    assert found.model_share is not None
    assert found.model_share.value == 21 / 24
    assert (found.readers, found.events, found.model_events) == (2, 12, 12)
    assert read_agreement(database, CONFIG, "another").events == 0
