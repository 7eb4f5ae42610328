"""The detector: silent where nothing has changed, and each kind of change found and named."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from pneumonia.monitoring.detector import Detector
from pneumonia.monitoring.judge import Looked, judge
from pneumonia.monitoring.kinds import ADVICE, label_weights, name_kind
from pneumonia.monitoring.null_law import shuffled
from pneumonia.monitoring.sample import UNKNOWN
from pneumonia.monitoring.settings import DriftSettings
from pneumonia.records.drift import DriftVerdict, NullLaw
from tests.support.drifting import Place, draw

SETTINGS = DriftSettings(resamples=200)
LOOKED = Looked("net", "7", "digest", "2026-11-26T04:00:00Z", "2026-11-25", "2026-11-26", "first", "last")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(draw(600, 1), SETTINGS)


def test_nothing_is_found_where_nothing_has_changed(detector: Detector) -> None:
    """Of 60 windows; the budget is a quarter of an alarm in them."""
    alarms = sum(detector.test(draw(1000, 100 + seed)).score >= 1 for seed in range(60))
    assert alarms <= 2


@pytest.mark.parametrize(
    ("place", "images", "kind"),
    [
        (Place(device=1.0), 250, "acquisition"),
        (Place(device=0.5), 1000, "acquisition"),
        (Place(prevalence=0.2), 250, "prevalence"),
        (Place(prevalence=0.4), 1000, "prevalence"),
        (Place(case=1.2), 500, "case mix"),
        (Place(foreign=0.2), 250, "foreign pictures"),
        (Place(foreign=0.05), 1000, "foreign pictures"),
    ],
)
def test_a_change_is_found_and_named(detector: Detector, place: Place, images: int, kind: str) -> None:
    verdicts = [judge(detector, draw(images, 300 + seed, place), LOOKED) for seed in range(5)]
    assert [found.alarm for found in verdicts] == [True] * 5
    assert sum(found.kind == kind for found in verdicts) >= 4
    named = next(found for found in verdicts if found.kind == kind)
    assert named.advice == ADVICE[named.kind]


def test_a_change_of_the_last_images_is_seen_before_the_window_is_full_of_it(detector: Detector) -> None:
    old, new = draw(1000, 5), draw(100, 6, Place(device=2.0))
    mixed = replace(
        old,
        **{
            name: np.concatenate([array[100:], new.arrays()[name]])  # type: ignore[arg-type]
            for name, array in old.arrays().items()
        },
    )
    found = judge(detector, mixed, LOOKED)
    assert found.kind == "acquisition"
    assert found.focus == 100
    assert {test.images for test in found.tests} == {100, 250, 500, 1000}


def test_a_verdict_is_a_document(detector: Detector) -> None:
    window = draw(300, 7, Place(prevalence=0.25, foreign=0.01))
    hidden = replace(window, labels=np.where(np.arange(300) < 200, UNKNOWN, window.labels).astype(np.int8))
    found = judge(detector, hidden, LOOKED)
    assert DriftVerdict.model_validate_json(found.model_dump_json()) == found
    assert (found.name, found.last_event) == ("net", "last")
    assert found.images == 300
    assert found.refused == int((~window.accepted).sum())
    assert found.labels == int(window.accepted[200:].sum())
    assert found.prevalence is not None
    assert found.prevalence.low < 0.25 < found.prevalence.high
    assert found.shifts[0].score == max(one.score for one in found.shifts)
    assert len(found.shifts) == 30
    for test in found.tests:
        assert (test.score >= 1) == (test.statistic >= test.limit), test
    assert found.score == max(found.scores().values()) == max(test.score for test in found.tests)


def test_too_few_images_say_nothing_unless_they_are_foreign(detector: Detector) -> None:
    few = judge(detector, draw(49, 8), LOOKED)
    assert (few.kind, few.alarm, few.tests, few.estimated) == ("too few", False, (), {})
    foreign = judge(detector, draw(60, 9, Place(foreign=1.0)), LOOKED)
    assert (foreign.kind, foreign.alarm, foreign.estimated) == ("foreign pictures", True, {})
    assert judge(detector, draw(60, 10), LOOKED).kind == "none"


def test_images_of_a_patient_vary_less_than_as_many_of_others() -> None:
    """Where every patient has five equal images, windows differ more by chance, and the level knows it."""
    settings = DriftSettings(sizes=(100,), resamples=100)
    reference = draw(400, 11)
    repeated = reference.take(np.repeat(np.arange(80), 5))
    laws = [Detector(one, settings).law for one in (replace(reference, patients=np.arange(400)), repeated)]
    assert laws[1].means[0][1] > 2.5 * laws[0].means[0][1]


def test_a_kept_law_gives_the_same_verdict(detector: Detector) -> None:
    kept = NullLaw.model_validate_json(detector.law.model_dump_json())
    again = Detector(draw(600, 1), SETTINGS, kept)
    window = draw(300, 12, Place(device=0.7))
    assert judge(again, window, LOOKED) == judge(detector, window, LOOKED)


def test_a_smaller_budget_has_higher_limits(detector: Detector) -> None:
    strict = Detector(draw(600, 1), replace(SETTINGS, budget=0.1), detector.law)
    window = draw(250, 13, Place(device=1.0))
    usual, rare = (one.test(window).compared[0] for one in (detector, strict))
    assert (rare.distance_limits > usual.distance_limits).all()
    assert rare.classifier_limit > usual.classifier_limit


def test_weights_give_the_reference_another_prevalence(detector: Detector) -> None:
    weights = label_weights(detector, 0.3)
    labels = detector.reference.labels
    assert weights[labels > 0].sum() / weights.sum() == pytest.approx(0.3)


def test_a_reference_that_is_too_small_or_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="50 are needed"):
        Detector(draw(49, 0), SETTINGS)
    with pytest.raises(ValueError, match="both classes"):
        Detector(draw(200, 0, Place(prevalence=1.0)), SETTINGS)


def test_a_small_reference_is_silent_and_finds_what_is_strong() -> None:
    """As a demo's, of a tenth of the patients."""
    small = Detector(draw(78, 20), SETTINGS)
    assert sum(small.test(draw(500, 400 + seed)).score >= 1 for seed in range(20)) <= 1
    assert judge(small, draw(500, 21, Place(device=2.0)), LOOKED).kind == "acquisition"


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="budget"):
        DriftSettings(budget=1000)
    with pytest.raises(ValueError, match="sizes"):
        DriftSettings(sizes=(20,))
    assert DriftSettings().digest() != DriftSettings(budget=2).digest()


def test_patients_stay_together() -> None:
    patients = np.repeat(np.arange(5), 3)
    order = shuffled(patients, 15, np.random.default_rng(0))
    assert (patients[order].reshape(5, 3) == patients[order][::3, None]).all()
    assert sorted(shuffled(None, 15, np.random.default_rng(0)).tolist()) == list(range(15))


def test_no_kind_without_an_alarm(detector: Detector) -> None:
    window = draw(250, 14)
    assert name_kind(detector, window, detector.test(window)).kind == "none"


def test_a_look_at_a_thousand_events_takes_less_than_five_seconds() -> None:
    random = np.random.default_rng(15)
    reference, window = (
        replace(one, embeddings=random.gamma(2, size=(len(one), 512)).astype(np.float32))
        for one in (draw(700, 15), draw(1000, 16))
    )
    began = time.process_time()
    judge(Detector(reference, DriftSettings()), window, LOOKED)
    assert time.process_time() - began < 5 * 4  # of all cores; the slowest machines take four times as long
