"""What passes, what does not, and that the sentences say what was decided."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumonia.config.policy import Policy, load_policy
from pneumonia.config.schema import GateConfig
from pneumonia.evaluation import gate
from pneumonia.records.evaluation import (
    Champion,
    ComparedMetric,
    Metric,
    ModelComparison,
    Reason,
    ShortcutDependence,
    Verdict,
)
from pneumonia.statistics.comparison import outcome

DEMO = GateConfig(demo=True, min_auroc=0.96, min_sensitivity=0.85, min_specificity=0.7)
PLAN = load_policy()
GOOD = {
    "auroc": Metric(value=0.98, low=0.97, high=0.99),
    "sensitivity": Metric(value=0.942, low=0.91, high=0.96),
    "specificity": Metric(value=0.9, low=0.81, high=0.95),
    "ece_balanced": Metric(value=0.05, low=0.04, high=0.06),
    "ece_at_prevalence": Metric(value=0.03, low=0.02, high=0.04),
}


def with_protocol(**changes: object) -> Policy:
    return PLAN.model_copy(update={"protocol": PLAN.protocol.model_copy(update=changes)})


def passed(reasons: list[Reason]) -> dict[str, bool]:
    return {reason.name: reason.passed for reason in reasons}


def compared(
    view: str = "as they are", opponent: str = "champion", **differences: tuple[float, float]
) -> ModelComparison:
    """A comparison in which the metrics that are not named do not differ at all."""
    metrics = []
    for name, margin in PLAN.protocol.margins.items():
        low, high = differences.get(name, (0.0, 0.0))
        difference = Metric(value=(low + high) / 2, low=low, high=high)
        metrics.append(
            ComparedMetric(metric=name, difference=difference, margin=margin, outcome=outcome(difference, margin).value)
        )
    return ModelComparison.model_validate(
        {"opponent": opponent, "version": "3", "view": view, "metrics": metrics, "images": 500, "of": 500}
    )


# --- demos


def test_a_demo_above_the_minimums_passes() -> None:
    reasons = gate.demo_reasons(GOOD, DEMO)
    assert [reason.text for reason in reasons] == [
        "AUROC 0.980 (0.970 to 0.990) is at least 0.96",
        "sensitivity 0.942 (0.910 to 0.960) is at least 0.85",
        "specificity 0.900 (0.810 to 0.950) is at least 0.7",
    ]
    assert [(reason.value, reason.limit) for reason in reasons] == [(0.98, 0.96), (0.942, 0.85), (0.9, 0.7)]
    verdict = gate.verdict([*reasons, gate.no_champion_reason()], GOOD)
    assert verdict.passed
    assert (verdict.policy, verdict.outcome, verdict.champion, verdict.metrics) == (None, None, None, GOOD)


@pytest.mark.parametrize("name", ["auroc", "sensitivity", "specificity"])
def test_each_minimum_stops_alone_and_says_so(name: str) -> None:
    low = GOOD | {name: Metric(value=0.5, low=0.4, high=0.6)}
    for reasons in (gate.demo_reasons(low, DEMO), gate.release_reasons(low, PLAN)):
        assert [reason.name for reason in reasons if not reason.passed] == [name]
        assert not gate.verdict(reasons, low).passed
        [text] = [reason.text for reason in reasons if reason.name == name]
        assert "0.500 (0.400 to 0.600)" in text
        assert "is below 0." in text


def test_a_demo_is_judged_by_the_value_and_a_release_by_the_lower_end() -> None:
    edge = GOOD | {"auroc": Metric(value=0.96, low=0.9599, high=0.99)}
    assert passed(gate.demo_reasons(edge, DEMO))["auroc"]
    reason = gate.release_reasons(edge, PLAN)[0]
    assert not reason.passed
    assert reason.text == "AUROC 0.960 (0.960 to 0.990), and its lower end 0.9599 is below 0.96"
    assert gate.release_reasons(edge | {"auroc": Metric(value=0.97, low=0.96, high=0.99)}, PLAN)[0].passed


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="metrics: sensitivity, specificity missing"):
        gate.demo_reasons({"auroc": GOOD["auroc"]}, DEMO)
    with pytest.raises(ValueError, match="metrics: auroc missing"):
        gate.release_reasons({name: GOOD[name] for name in ("sensitivity", "specificity")}, PLAN)


shares = st.floats(0, 1) | st.sampled_from([0.84999999, 0.85, 0.8500001, 0.0, 1.0])


@given(shares, shares)
def test_the_numbers_of_a_sentence_compare_as_it_says(value: float, limit: float) -> None:
    metrics = GOOD | {"auroc": Metric(value=value, low=value, high=value)}
    demo = gate.demo_reasons(metrics, GateConfig(min_auroc=limit))[0]
    plan = with_protocol(minimums=PLAN.protocol.minimums | {"auroc": limit})
    release = gate.release_reasons(metrics, plan)[0]
    number = r"([+-]?[0-9.]+(?:e-?[0-9]+)?)"
    for reason, start in ((demo, "^AUROC"), (release, "lower end")):
        found = re.search(rf"{start} {number} .*?is (at least|below) {number}$", reason.text)
        assert found, reason.text
        shown, words, bound = found.groups()
        assert reason.passed == (words == "at least") == (float(shown) >= float(bound)) == (value >= limit)


# --- comparisons


def test_a_lower_sensitivity_with_a_higher_auroc_is_refused() -> None:
    comparison = compared(auroc=(0.005, 0.02), sensitivity=(-0.09, -0.01))
    reason = gate.comparison_reason(comparison, PLAN)
    assert not reason.passed
    assert reason.text == (
        "against champion version 3, images as they are: sensitivity worse, -0.050 (-0.090 to -0.010), margin -0.05"
    )
    assert gate.verdict([reason], GOOD, comparisons=[comparison]).outcome == "worse"


def test_a_model_that_is_worse_without_shortcuts_is_refused_there() -> None:
    better = compared(auroc=(0.001, 0.01))
    worse = compared("without shortcuts", auroc=(-0.1, -0.03))
    reasons = [gate.comparison_reason(each, PLAN) for each in (better, worse)]
    assert passed(reasons) == {"champion, as they are": True, "champion, without shortcuts": False}
    verdict = gate.verdict(reasons, GOOD, comparisons=[better, worse])
    assert (verdict.passed, verdict.outcome) == (False, "worse")


def test_the_reference_refuses_what_the_champion_lets_pass() -> None:
    step = compared(auroc=(-0.015, 0.005))
    far = compared(opponent="reference", auroc=(-0.06, -0.03))
    assert gate.comparison_reason(step, PLAN).passed
    assert not gate.comparison_reason(far, PLAN).passed


def test_what_cannot_be_told_says_how_many_images_would_tell() -> None:
    found = ComparedMetric(
        metric="specificity",
        difference=Metric(value=0.0, low=-0.1, high=0.1),
        margin=0.08,
        outcome="cannot tell",
        images_to_tell=900,
    )
    comparison = compared().model_copy(update={"metrics": (found,)})
    reason = gate.comparison_reason(comparison, PLAN)
    assert not reason.passed
    assert reason.text.endswith("+0.100), margin -0.08, and about 900 images would tell")
    assert gate.comparison_reason(comparison, with_protocol(promotes=("better", "not worse", "cannot tell"))).passed
    none = comparison.model_copy(update={"metrics": (found.model_copy(update={"images_to_tell": None}),)})
    assert "no number of images would tell" in gate.comparison_reason(none, PLAN).text


def test_other_images_and_images_that_were_seen_are_said() -> None:
    comparison = compared().model_copy(update={"images": 480, "seen": True})
    text = gate.comparison_reason(comparison, PLAN).text
    assert "(480 of 500 images)" in text
    assert text.endswith("may have been trained on some of these images")


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        ([(0.01, 0.02), (0.0, 0.0)], "better"),
        ([(-0.01, 0.02), (0.0, 0.0)], "not worse"),
        ([(0.01, 0.02), (-0.03, 0.01)], "cannot tell"),
        ([(-0.03, 0.01), (-0.05, -0.03)], "worse"),
    ],
)
def test_all_comparisons_have_one_outcome(outcomes: list[tuple[float, float]], wanted: str) -> None:
    comparisons = [compared(auroc=interval) for interval in outcomes]
    assert gate.verdict([], GOOD, comparisons=comparisons).outcome == wanted


# --- the other conditions


def dependence(**falls: tuple[float, float]) -> dict[str, ShortcutDependence]:
    """By shortcut, the decrease of the separation, and beyond the control its value and upper end."""
    zero = Metric(value=0, low=0, high=0)
    return {
        name: ShortcutDependence(
            separation=Metric(value=value, low=value - 0.1, high=value + 0.1),
            normal=zero,
            pneumonia=zero,
            beyond_control=Metric(value=value, low=value - 0.1, high=high),
        )
        for name, (value, high) in falls.items()
    }


def test_a_shortcut_that_the_model_depends_on_is_a_reason_with_its_name() -> None:
    one = dependence(mark=(0.1, 0.2), border=(0.8, 0.9), size=(0.7, 0.8))
    for reason in (gate.demo_reasons(GOOD, DEMO, one)[-1], gate.dependence_reason(one, PLAN)):
        assert not reason.passed
        assert reason.text.startswith("the model depends on a shortcut; without it ")
        assert "border 0.800 (0.700 to 0.900), size 0.700 (0.600 to 0.800)" in reason.text
        assert "mark" not in reason.text
    few = dependence(mark=(0.1, 0.2), size=(0.05, 0.1))
    text = "the model depends on no shortcut by more than 0.4; the most on mark 0.100 (0.000 to 0.200)"
    assert gate.demo_reasons(GOOD, DEMO, few)[-1].text == text
    assert passed(gate.demo_reasons(GOOD, DEMO, few))["shortcuts"]


def test_a_demo_s_dependence_is_its_value_and_a_plan_s_the_upper_end_beyond_the_control() -> None:
    edge = dependence(mark=(0.3, 0.41))
    assert passed(gate.demo_reasons(GOOD, DEMO, edge))["shortcuts"]
    assert not gate.dependence_reason(edge, PLAN).passed
    assert gate.dependence_reason(edge, with_protocol(max_shortcut_dependence=0.41)).passed
    bare = {name: found.model_copy(update={"beyond_control": None}) for name, found in edge.items()}
    with pytest.raises(ValueError, match="without a control"):
        gate.dependence_reason(bare, PLAN)


@pytest.mark.parametrize("name", ["ece_balanced", "ece_at_prevalence"])
def test_a_bad_calibration_is_refused(name: str) -> None:
    assert gate.calibration_reason(GOOD, PLAN).text == (
        "the expected calibration error is at most 0.15: both classes weighing the same 0.050 (0.040 to 0.060) and at "
        "the stated prevalence 0.030 (0.020 to 0.040)"
    )
    bad = gate.calibration_reason(GOOD | {name: Metric(value=0.16, low=0.1, high=0.2)}, PLAN)
    assert not bad.passed
    assert "above 0.15" in bad.text
    assert "0.160 (0.100 to 0.200)" in bad.text


def test_what_lies_outside_the_plan_is_refused() -> None:
    assert gate.plan_reason([]).passed
    reason = gate.plan_reason(["train.epochs=1 is outside 3 to 100", "it was trained on 3 patients"])
    assert not reason.passed
    assert reason.text.startswith("train.epochs=1 is outside 3 to 100; it was trained on 3 patients; a change of this")


def test_the_champion_itself_and_a_withdrawn_model_are_no_candidates() -> None:
    assert (
        gate.already_champion_reason(Champion(version="3")).text == "these weights are already champion, as version 3"
    )
    assert not gate.already_champion_reason(Champion(version="3")).passed
    assert not gate.withdrawn_reason("version 2 was withdrawn").passed


def test_a_verdict_survives_json() -> None:
    comparison = compared(auroc=(0.001, 0.01))
    verdict = gate.verdict(
        [gate.comparison_reason(comparison, PLAN)],
        GOOD,
        Champion(version="3", weights_digest="old"),
        PLAN,
        [comparison],
        {"as they are": GOOD},
        released=False,
    )
    assert (verdict.measured_on, verdict.policy) == ("gate set", PLAN.digest)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
