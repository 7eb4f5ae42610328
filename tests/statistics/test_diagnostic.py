"""Predictive values and likelihood ratios, against numbers that a hand computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.config.schema import EvaluationConfig
from pneumonia.records.assessment import PredictiveValues
from pneumonia.records.evaluation import Metric
from pneumonia.statistics.diagnostic import NEGATIVE, POSITIVE, likelihood_ratios, predictive_values
from pneumonia.statistics.metrics import Scored, compute_metrics

QUICK = EvaluationConfig(bootstrap=100)


def answered(tp: int, fn: int, fp: int, tn: int) -> Scored:
    """Images with these outcomes at threshold 0.5."""
    labels = [1] * (tp + fn) + [0] * (fp + tn)
    return Scored(labels, [0.9] * tp + [0.1] * fn + [0.9] * fp + [0.1] * tn)


def test_values_are_those_of_bayes_theorem() -> None:
    found = predictive_values(answered(tp=90, fn=10, fp=40, tn=160), QUICK, (0.05, 0.2, 0.5))
    # of 1,000 people at 5 %: 50 ill, 45 of them found; 950 well, 190 false alarms, 760 cleared
    assert found[0].ppv.value == pytest.approx(45 / (45 + 190))
    assert found[0].npv.value == pytest.approx(760 / (760 + 5))
    assert found[1].ppv.value == pytest.approx(180 / (180 + 160))
    assert found[1].npv.value == pytest.approx(640 / (640 + 20))
    ratios, remarks = likelihood_ratios(found[2])
    assert ratios[POSITIVE].value == pytest.approx(0.9 / 0.2)
    assert ratios[NEGATIVE].value == pytest.approx(0.1 / 0.8)
    assert remarks == []


def test_at_the_prevalence_of_the_images_it_is_the_precision() -> None:
    scored = answered(tp=30, fn=20, fp=10, tn=140)
    (found,) = predictive_values(scored, QUICK, (50 / 200,))
    assert found.ppv.value == pytest.approx(compute_metrics(scored, QUICK)["precision"].value)


def test_an_interval_is_that_of_the_same_formula_over_resamples() -> None:
    """Against a loop that draws patients, and computes ratios directly."""
    rng = np.random.default_rng(1)
    labels = np.repeat(rng.integers(0, 2, 60), 3)
    scores = np.clip(0.25 + 0.5 * labels + rng.normal(0, 0.3, 180), 0, 1)
    patients = [str(at // 3) for at in range(180)]
    config = EvaluationConfig(bootstrap=4000)
    (even,) = predictive_values(Scored(labels, scores, patients), config, (0.5,))
    ratios, _ = likelihood_ratios(even)
    drawn = []
    for _ in range(4000):
        rows = (3 * rng.integers(0, 60, 60)[:, None] + np.arange(3)).ravel()
        y, positive = labels[rows], scores[rows] >= 0.5
        drawn.append(positive[y == 1].mean() / positive[y == 0].mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert ratios[POSITIVE].low == pytest.approx(low, rel=0.06)
    assert ratios[POSITIVE].high == pytest.approx(high, rel=0.06)


def test_what_has_no_number_is_said_in_words() -> None:
    even = predictive_values(answered(tp=45, fn=5, fp=0, tn=50), QUICK, (0.5,))[0]
    ratios, remarks = likelihood_ratios(even)
    assert POSITIVE not in ratios
    assert ratios[NEGATIVE].value == pytest.approx(0.1)
    assert remarks == [f"{POSITIVE} is infinite: no image was given that answer wrongly, and there is no interval"]
    few = predictive_values(answered(tp=45, fn=5, fp=1, tn=49), QUICK, (0.5,))[0]
    assert likelihood_ratios(few)[1][0].startswith(f"{POSITIVE} is 45, at least ")
    assert "no upper end" in likelihood_ratios(few)[1][0]
    nobody = predictive_values(answered(tp=0, fn=5, fp=0, tn=5), QUICK, (0.5,))[0]
    assert (nobody.ppv.value, nobody.ppv.high) == (0, 0)
    assert "not defined" in likelihood_ratios(nobody)[1][0]


def test_only_even_odds_give_ratios() -> None:
    one = Metric(value=0.5, low=0.4, high=0.6)
    with pytest.raises(ValueError, match="50 %"):
        likelihood_ratios(PredictiveValues(prevalence=0.2, ppv=one, npv=one))


@settings(deadline=None, max_examples=25)
@given(st.tuples(*[st.integers(1, 30)] * 4), st.floats(0.01, 0.98))
def test_a_higher_prevalence_makes_positives_surer_and_negatives_less_sure(
    outcomes: tuple[int, int, int, int], prevalence: float
) -> None:
    low, high = predictive_values(answered(*outcomes), QUICK, (prevalence, prevalence + 0.01))
    assert low.ppv.value < high.ppv.value
    assert low.npv.value > high.npv.value
