"""Weaknesses follow from the numbers: each planted one is named, and a model without any has none."""

from __future__ import annotations

from typing import Any

import pytest

from pneumonia.evidence.weaknesses import find_weaknesses
from pneumonia.records.assessment import Case, PredictiveValues
from pneumonia.records.dossier import LedgerEntry, ReleaseOpening, Weakness
from pneumonia.records.evaluation import Metric, Reason, ShortcutDependence
from pneumonia.reporting.dossier.page import SECTIONS
from tests.support import dossiers
from tests.support.dossiers import GOOD, WHEN, assessment, bare, metric

FALL = ShortcutDependence(separation=metric(0.4), normal=metric(0.2), pneumonia=metric(0.2), beyond_control=metric(0.3))
FAILED = Reason(name="specificity", passed=False, text="0.60 is below 0.70", value=0.6, limit=0.7)
CLOSE = Reason(name="auroc", passed=True, text="0.965 is at least 0.96", value=0.965, limit=0.96)
OTHER = ReleaseOpening(when=WHEN, who="ben", purpose="gate", model="x", weights="o" * 64, demo=False, this_model=False)
OVERRIDE = LedgerEntry(
    when=WHEN,
    who="ben",
    why="in a hurry",
    action="promote",
    from_version=None,
    to_version="3",
    despite=("specificity",),
)
SURE = Case(path="a.jpeg", label="PNEUMONIA", probability=0.02, patient=None, sha256="a" * 64)
RARE = PredictiveValues(prevalence=0.05, ppv=metric(0.3), npv=metric(0.99))

PLANTED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no outside set": ({"outside": ()}, "serious", "No outside metrics", "outside"),
    "a worse outside set": ({"outside": (dossiers.outside(0.8),)}, "serious", "AUROC 0.800", "outside"),
    "a failed criterion": ({"verdict": dossiers.verdict(FAILED)}, "serious", "Failed: specificity", "verdict"),
    "a close criterion": ({"verdict": dossiers.verdict(CLOSE)}, "caution", "by a margin of 0.005", "verdict"),
    "no verdict": ({"verdict": None}, "not known", "No verdict", "verdict"),
    "a demonstration": ({"demo": True}, "caution", "A demonstration", "verdict"),
    "withdrawn": ({"withdrawn": "by ben: false alarms"}, "serious", "false alarms", "ledger"),
    "an override": ({"moves": (OVERRIDE,)}, "serious", "despite specificity: in a hurry", "ledger"),
    "a shortcut": ({"dependence": {"mark": FALL}}, "serious", "Depends on mark", "shortcuts"),
    "no ablation": ({"dependence": None}, "not known", "Shortcut dependence", "shortcuts"),
    "a weak slice": (
        {"assessment": assessment(slices=[dossiers.a_slice("dark", metric(0.7))])},
        "serious",
        "brightness is dark",
        "slices",
    ),
    "low specificity": (
        {"assessment": assessment(metrics=GOOD | {"specificity": metric(0.6)})},
        "serious",
        "94 of 234 images without it",
        "errors",
    ),
    "certain errors": ({"assessment": assessment(worst_errors=[SURE])}, "caution", "1 missed, 0 false", "errors"),
    "a rare disease": ({"assessment": assessment(predictive_values=[RARE])}, "caution", "70 % of its", "inside"),
    "no assessment": ({"assessment": None}, "not known", "No assessment", "inside"),
    "a blur": ({"robustness": dossiers.robustness(0.5)}, "serious", "Sensitive to blur", "robustness"),
    "a scaling": (
        {"robustness": dossiers.robustness(reference=GOOD | {"specificity": metric(0.84)})},
        "caution",
        "specificity 0.840 (0.830 to 0.850), there 0.950 (0.920 to 0.970)",
        "robustness",
    ),
    "a scaling that matters": (
        {"robustness": dossiers.robustness(0.6, reference=GOOD | {"specificity": metric(0.6)})},
        "serious",
        "Sensitive to scaling",
        "robustness",
    ),
    "no robustness": ({"robustness": None}, "not known", "No robustness test", "robustness"),
    "no folds": ({"cross_validation": None}, "not known", "No cross-validation", "cross-validation"),
    "openings": ({"openings": (OTHER,)}, "caution", "1 other model too", "openings"),
}


def words(found: tuple[Weakness, ...]) -> list[str]:
    return [f"{each.topic}. {each.text}" for each in found]


def test_a_good_model_is_given_its_errors_alone() -> None:
    assert {(each.weight, each.topic) for each in find_weaknesses(bare())} == {
        ("caution", "Missed pneumonia"),
        ("caution", "False alarms"),
    }


@pytest.mark.parametrize(("changes", "weight", "text", "section"), PLANTED.values(), ids=PLANTED)
def test_a_planted_weakness_is_named(changes: dict[str, Any], weight: str, text: str, section: str) -> None:
    found = find_weaknesses(bare(**changes))
    (one,) = (each for each in found if text in f"{each.topic}. {each.text}")
    assert (one.weight, one.section) == (weight, section)
    assert text not in " ".join(words(find_weaknesses(bare()))), "without it, it is not said"


def test_wide_intervals_and_a_bad_calibration_are_named() -> None:
    metrics = GOOD | {"auroc": Metric(value=0.8, low=0.6, high=0.9), "ece_balanced": metric(0.12)}
    verdict = dossiers.verdict().model_copy(update={"metrics": metrics})
    found = words(find_weaknesses(bare(verdict=verdict)))
    assert any("AUROC 0.800 (0.600 to 0.900)" in each for each in found)
    assert any("off by 0.120" in each for each in found)


def test_the_lowest_slice_is_named_where_none_is_far_below() -> None:
    slices = [dossiers.a_slice("dark", metric(0.93)), dossiers.a_slice("bright", metric(0.935))]
    found = [each for each in find_weaknesses(bare(assessment=assessment(slices=slices))) if each.section == "slices"]
    assert [(each.weight, each.topic) for each in found] == [("caution", "Weak slice: brightness dark")]


def test_a_slice_of_a_few_images_is_not_named() -> None:
    few = dossiers.a_slice("dark", Metric(value=0.5, low=0.0, high=1.0), images=12)
    assert not any("dark" in each for each in words(find_weaknesses(bare(assessment=assessment(slices=[few])))))


def test_the_serious_ones_come_first_and_point_to_a_section() -> None:
    changes = {key: value for planted, *_ in PLANTED.values() for key, value in planted.items()}
    found = find_weaknesses(bare(**changes))
    order = [("serious", "caution", "not known").index(each.weight) for each in found]
    assert order == sorted(order)
    assert {each.section for each in found} <= {section.id for section in SECTIONS}


def test_phantoms_are_the_first_thing_said() -> None:
    assert find_weaknesses(bare(phantom=True, outside=()))[0].topic == "Trained on phantoms"
