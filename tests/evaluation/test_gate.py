"""What passes, what does not, and that the sentences say what was decided."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumonia.config.schema import GateConfig
from pneumonia.evaluation.gate import judge
from pneumonia.records.evaluation import ChampionComparison, Metric, Verdict

GATE = GateConfig(min_auroc=0.96, min_sensitivity=0.85, min_specificity=0.7, max_auroc_loss=0.01)
GOOD = {
    "auroc": Metric(value=0.98, low=0.97, high=0.99),
    "sensitivity": Metric(value=0.912, low=0.89, high=0.93),
    "specificity": Metric(value=0.8, low=0.7, high=0.9),
    "brier": Metric(value=0.05, low=0.04, high=0.06),
}
BETTER = {"auroc": Metric(value=0.004, low=-0.002, high=0.011)}


def against(differences: dict[str, Metric]) -> ChampionComparison:
    return ChampionComparison(version="3", weights_digest="old", differences=differences)


def outcomes(verdict: Verdict) -> dict[str, bool]:
    return {reason.name: reason.passed for reason in verdict.reasons}


def test_a_first_model_above_the_minimums_passes() -> None:
    verdict = judge(GOOD, GATE)
    assert verdict.passed
    assert verdict.champion is None
    assert verdict.metrics == GOOD
    assert [reason.text for reason in verdict.reasons] == [
        "AUROC 0.980 (0.970 to 0.990) is at least 0.96",
        "sensitivity 0.912 (0.890 to 0.930) is at least 0.85",
        "specificity 0.800 (0.700 to 0.900) is at least 0.7",
        "there is no champion yet to compare with",
    ]
    assert [(reason.value, reason.limit) for reason in verdict.reasons[:3]] == [(0.98, 0.96), (0.912, 0.85), (0.8, 0.7)]


@pytest.mark.parametrize("name", ["auroc", "sensitivity", "specificity"])
def test_each_minimum_stops_alone_and_says_so(name: str) -> None:
    low = Metric(value=0.5, low=0.4, high=0.6)
    verdict = judge(GOOD | {name: low}, GATE)
    assert not verdict.passed
    assert [reason.name for reason in verdict.reasons if not reason.passed] == [name]
    [text] = [reason.text for reason in verdict.reasons if reason.name == name]
    assert "0.500 (0.400 to 0.600) is below 0." in text


def test_a_value_on_the_minimum_passes_whatever_its_interval() -> None:
    edge = GOOD | {"auroc": Metric(value=0.96, low=0.9, high=0.99)}
    assert judge(edge, GATE).passed


@pytest.mark.parametrize(
    ("low", "passed"),
    [(0.002, True), (-0.002, True), (-0.01, True), (-0.0101, False), (-0.05, False)],
)
def test_not_worse_than_the_champion_means_the_lower_end(low: float, passed: bool) -> None:
    differences = {"auroc": Metric(value=0.003, low=low, high=0.02)}
    verdict = judge(GOOD, GATE, ChampionComparison(version="3", weights_digest="old", differences=differences))
    assert verdict.passed is passed
    assert outcomes(verdict)["champion"] is passed
    assert verdict.champion is not None
    assert (verdict.champion.version, verdict.champion.weights_digest) == ("3", "old")
    assert verdict.champion.differences == differences
    reason = verdict.reasons[-1]
    assert (reason.value, reason.limit) == (low, -0.01)


def test_the_comparison_is_a_plain_sentence() -> None:
    assert judge(GOOD, GATE, against(BETTER)).reasons[-1].text == (
        "AUROC differs from that of champion version 3 by +0.004 (-0.002 to +0.011), "
        "and the lower end is at least -0.01"
    )


def test_a_better_auroc_does_not_buy_off_a_minimum() -> None:
    metrics = GOOD | {"specificity": Metric(value=0.6, low=0.5, high=0.7)}
    assert outcomes(judge(metrics, GATE, against(BETTER))) == {
        "auroc": True,
        "sensitivity": True,
        "specificity": False,
        "champion": True,
    }


def test_the_champion_itself_is_no_candidate() -> None:
    verdict = judge(GOOD, GATE, against({}), same=True)
    assert not verdict.passed
    assert outcomes(verdict) == {"auroc": True, "sensitivity": True, "specificity": True, "already champion": False}
    assert verdict.reasons[-1].text == "these weights are already champion, as version 3"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="metrics: sensitivity, specificity missing"):
        judge({"auroc": GOOD["auroc"]}, GATE)
    with pytest.raises(ValueError, match="'auroc' against champion version 3 is missing"):
        judge(GOOD, GATE, against({}))


def test_a_verdict_survives_json() -> None:
    for verdict in (judge(GOOD, GATE), judge(GOOD, GATE, against(BETTER))):
        assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


shares = st.floats(0, 1) | st.sampled_from([0.84999999, 0.85, 0.8500001, 0.0, 1.0])


@given(shares, shares)
def test_the_numbers_of_a_sentence_compare_as_it_says(value: float, limit: float) -> None:
    gate = GateConfig(min_auroc=limit, min_sensitivity=0, min_specificity=0, max_auroc_loss=limit)
    metrics = GOOD | {"auroc": Metric(value=value, low=value, high=value)}
    differences = {"auroc": Metric(value=0, low=-value, high=0)}
    minimum, *_, champion = judge(metrics, gate, against(differences)).reasons
    number = r"([+-]?[0-9.]+(?:e-?[0-9]+)?)"
    for reason, pattern in (
        (minimum, rf"^AUROC {number} .* is (at least|below) {number}$"),
        (champion, rf"\({number} to .* is (at least|below) {number}$"),
    ):
        found = re.search(pattern, reason.text)
        assert found, reason.text
        shown, words, bound = found.groups()
        assert reason.passed == (words == "at least") == (float(shown) >= float(bound))
    assert minimum.passed == (value >= limit)
    assert champion.passed == (-value >= -limit)


def test_a_shortcut_that_the_model_depends_on_is_a_reason_with_its_name() -> None:
    small, large = Metric(value=0.1, low=0.0, high=0.2), Metric(value=0.8, low=0.7, high=0.9)
    passed = judge(GOOD, GATE, dependence={"mark": small, "size": small})
    assert passed.passed
    refused = judge(GOOD, GATE, dependence={"mark": small, "border": large})
    assert [reason.name for reason in refused.reasons if not reason.passed] == ["shortcuts"]
    (reason,) = (reason for reason in refused.reasons if reason.name == "shortcuts")
    assert "border 0.800 (0.700 to 0.900)" in reason.text
    assert "mark" not in reason.text
    assert (reason.value, reason.limit) == (0.8, GATE.max_shortcut_dependence)
    assert judge(GOOD, GATE.model_copy(update={"max_shortcut_dependence": 0.8}), dependence={"border": large}).passed
    assert "shortcuts" not in {reason.name for reason in judge(GOOD, GATE).reasons}
    text = next(reason.text for reason in passed.reasons if reason.name == "shortcuts")
    assert text == "the model depends on no shortcut by more than 0.4; the most on mark 0.100 (0.000 to 0.200)"
    assert reason.text.startswith("the model depends on a shortcut; without it ")
    several = judge(GOOD, GATE, dependence={"mark": small, "border": large, "size": large}).reasons
    (reason,) = (reason for reason in several if reason.name == "shortcuts")
    assert "border 0.8" in reason.text, "all that are beyond the limit are named"
    assert "size 0.8" in reason.text
    assert "mark" not in reason.text
