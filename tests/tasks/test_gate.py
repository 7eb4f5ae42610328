"""The gate as the pipeline runs it: the gate set decides, the release set is opened once, the plan is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.config.policy import load_policy
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest
from pneumonia.errors import DataError
from pneumonia.evaluation import scored_model
from pneumonia.evaluation.gate_set import reference_of
from pneumonia.evaluation.scored_model import VIEWS, Model
from pneumonia.evidence.dossier import compose
from pneumonia.evidence.sources import of_training
from pneumonia.records.steps import Validation
from pneumonia.registry import models, openings
from pneumonia.statistics.metrics import Scored
from tests.support.plan import planned, write_plan
from tests.support.steps import exported, run

Labels = NDArray[np.int64]
Scores = Callable[[int, str, Labels], NDArray[np.float64]]
"""By the seed of a model's training, the view and the labels, the probabilities."""
Install = Callable[[Scores], None]


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Let models score as a test says: what a training comes to is tested elsewhere."""

    def install(probabilities: Scores) -> None:
        def score(model: Model, images: Images, view: str = VIEWS[0]) -> Scored:
            values = probabilities(int(model.record.config["train"]["seed"]), view, images.labels)
            return Scored(images.labels, values, images.patients, 0.5, images.copies)

        monkeypatch.setattr(scored_model.Model, "score", score)

    return install


def apart(labels: Labels, distance: float) -> NDArray[np.float64]:
    """Probabilities of two classes that lie so far apart."""
    noise = np.random.default_rng(0).random(len(labels))
    return np.clip(0.5 + (labels - 0.5) * distance + 0.2 * (noise - 0.5), 0, 1)


def refused(validation: Validation) -> list[str]:
    return [reason.name for reason in validation.verdict.reasons if not reason.passed]


def seed(work: Path, number: int, plan: Path | None = None) -> Config:
    return planned(work, f"train.seed={number}", "train.epochs=1", "phantom.train=96", plan=plan)


def test_a_first_model_passes_gate_set_and_release_set(work: Path) -> None:
    config = seed(work, 0)
    dataset, trained, validation, promotion = run(config)
    verdict = validation.verdict
    assert promotion.promoted
    assert [reason.name for reason in verdict.reasons] == [
        *("plan", "champion", "shortcuts", "calibration", "auroc", "sensitivity", "specificity"),
    ]
    assert (verdict.measured_on, validation.openings) == ("release set", 1)
    assert set(verdict.gate_metrics) == set(VIEWS)
    assert verdict.policy == load_policy(config.gate.policy).digest
    held = Manifest.load(Path(dataset.manifest))
    train = {entry.patient for entry in held.entries if entry.split in ("train", "validation", "unused")}
    assert train.isdisjoint(entry.patient for entry in held.entries if entry.split == "gate")
    page = Path(validation.report).read_text()
    assert "On the gate set, on which models are compared" in page
    assert "beyond the control by" in page
    (move,) = models.history(trained.tracking_uri, promotion.name)
    assert verdict.policy[:12] in move.why, "the plan stands in the ledger"


def test_what_the_gate_set_refuses_opens_nothing(work: Path, scores: Install) -> None:
    scores(lambda number, _, labels: apart(labels, 0.9 if number == 0 else -0.9))
    first = run(seed(work, 0, write_plan(work / "plan.toml", margin=0.1)))
    assert first[3].promoted
    _, trained, validation, promotion = run(seed(work, 1, work / "plan.toml"))
    assert refused(validation) == ["champion, as they are", "champion, without shortcuts"]
    assert (validation.verdict.measured_on, validation.verdict.outcome) == ("gate set", "worse")
    assert validation.openings is None
    assert len(openings.openings(trained.tracking_uri)) == 1, "that of the first"
    assert not promotion.promoted
    assert "which refused the model, so that the release set was not opened" in Path(validation.report).read_text()


def test_a_model_that_is_better_as_it_is_and_worse_without_shortcuts_is_refused(work: Path, scores: Install) -> None:
    distance = {(0, VIEWS[0]): 0.0, (0, VIEWS[1]): 0.5, (1, VIEWS[0]): 0.9, (1, VIEWS[1]): -0.5}
    scores(lambda number, view, labels: apart(labels, distance[number, view]))
    plan = write_plan(work / "plan.toml", margin=0.05)
    run(seed(work, 0, plan))
    _, _, validation, promotion = run(seed(work, 1, plan))
    by_view = {
        found.view: {each.metric: each.outcome for each in found.metrics} for found in validation.verdict.comparisons
    }
    assert by_view[VIEWS[0]]["auroc"] == "better"
    assert by_view[VIEWS[1]]["auroc"] == "worse"
    assert refused(validation) == ["champion, without shortcuts"]
    assert not promotion.promoted


def test_a_model_that_reads_a_planted_feature_is_refused_by_its_name(work: Path) -> None:
    plan = write_plan(work / "plan.toml", max_shortcut_dependence=0.4)
    settings = ("phantom.train=260", "phantom.test=40", "phantom.size=224", "phantom.shortcut=mark")
    settings += ("phantom.opacities=false", "preprocess.size=64", "train.epochs=5", "train.threads=1")
    config = planned(work, *settings, plan=plan)
    dataset, trained, validation, promotion = run(config)
    assert validation.verdict.gate_metrics[VIEWS[0]]["auroc"].value > 0.95, "as they are it is an excellent model"
    assert refused(validation) == ["shortcuts"]
    (text,) = (reason.text for reason in validation.verdict.reasons if not reason.passed)
    assert text.partition(": ")[2].startswith("mark "), "the feature is named"
    assert not promotion.promoted
    dossier = compose(of_training(dataset, trained, exported(dataset, trained, config), validation, config))
    serious = {each.topic for each in dossier.weaknesses if each.weight == "serious"}
    assert serious >= {"Failed: shortcuts", "Depends on mark"}


def test_small_losses_do_not_add_up(work: Path, scores: Install) -> None:
    """Each of ten models in a row overlooks one patient more than the one before, within the margin."""

    def one_more(number: int, _: str, labels: Labels) -> NDArray[np.float64]:
        overlooked = (labels == 1) & (np.cumsum(labels) <= number)
        return np.where((labels == 1) & ~overlooked, 0.9, 0.1)

    scores(one_more)
    plan = write_plan(work / "plan.toml", margin=0.35)
    outcomes = []
    for number in range(11):
        _, trained, validation, promotion = run(seed(work, number, plan))
        outcomes.append(promotion.promoted)
        if not promotion.promoted:
            break
    assert outcomes.count(True) > 1, "the champion alone lets small losses pass"
    assert outcomes[-1] is False
    assert all(name.startswith("reference") for name in refused(validation))
    reference = reference_of(trained.tracking_uri, promotion.name, load_policy(str(plan)))
    assert reference is not None
    assert reference.version == "1"


def test_a_training_outside_the_plan_is_refused(work: Path) -> None:
    plan = write_plan(work / "plan.toml", extra='[modifications.ranges]\n"train.epochs" = [2, 3]')
    _, _, validation, _ = run(seed(work, 0, plan))
    assert refused(validation) == ["plan"]
    assert "train.epochs=1 is outside 2 to 3" in validation.verdict.reasons[0].text
    assert validation.openings is None


def test_fewer_patients_than_the_champion_s_are_refused(work: Path) -> None:
    plan = write_plan(work / "plan.toml")
    run(seed(work, 0, plan))
    fewer = planned(work, "train.seed=1", "train.epochs=1", "phantom.train=96", "data.patient_fraction=0.5", plan=plan)
    _, _, validation, _ = run(fewer)
    assert refused(validation) == ["plan"]
    assert "fewer than the champion's" in validation.verdict.reasons[0].text


def test_the_release_set_is_opened_as_often_as_the_plan_says(work: Path, scores: Install) -> None:
    plan = write_plan(work / "plan.toml", minimum=0.99, openings_per_release=2)
    scores(lambda number, _, labels: apart(labels, 0.0))
    for number in range(2):
        assert refused(run(seed(work, number, plan))[2])[0] == "auroc", "the release set refuses it"
    with pytest.raises(openings.ReleaseSetSpent, match="opened 2 times since the last promotion"):
        run(seed(work, 2, plan))
    again = run(seed(work, 1, plan))[2]
    assert again.openings == 2, "a model that was looked at already may be judged again"


def test_a_gate_set_without_a_class_is_said(work: Path) -> None:
    config = seed(work, 0).model_copy(update={"data": seed(work, 0).data.model_copy(update={"gate_fraction": 0.0})})
    with pytest.raises(DataError, match=r"the gate set has no NORMAL and no PNEUMONIA image.*gate\.demo=true"):
        run(config)


def test_the_profile_of_the_model_has_a_gate_set() -> None:
    full = resolve("full", assignments=["data.root=data/chest_xray"], environment={})
    assert (full.gate.demo, full.data.gate_fraction) == (False, 0.1)
