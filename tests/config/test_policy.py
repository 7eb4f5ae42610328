"""The change control plan: what it refuses, and what is refused as a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.config.policy import BUILT_IN, load_policy, violations
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import CLASSES, Config
from pneumonia.errors import ConfigError

PLAN = Path(__file__).parents[2] / "pneumonia/config/pccp.toml"
FULL = resolve("full", assignments=["data.root=data/chest_xray"], environment={})


def edited(tmp_path: Path, old: str, new: str) -> str:
    text = PLAN.read_text()
    assert old in text
    path = tmp_path / "plan.toml"
    path.write_text(text.replace(old, new))
    return str(path)


def test_the_profile_of_the_model_lies_within_the_plan() -> None:
    assert violations(load_policy(), FULL, CLASSES, 1000, 1000) == []
    assert violations(load_policy(), FULL, CLASSES, 1000, None) == []


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("model.architecture=tiny", "the architecture tiny is none of resnet18"),
        ("train.epochs=2", "train.epochs=2 is outside 3 to 100"),
        ("data.gate_fraction=0.2", "data.gate_fraction=0.2 is outside 0.1 to 0.1"),
        ("data.patient_fraction=0.5", "data.patient_fraction=0.5 is outside 1 to 1"),
        ("evaluation.confidence=0.8", "evaluation.confidence=0.8 is outside 0.95 to 0.99"),
    ],
)
def test_a_setting_out_of_its_range_is_named(assignment: str, words: str) -> None:
    config = resolve("full", assignments=["data.root=data/chest_xray", assignment], environment={})
    assert violations(load_policy(), config, CLASSES, 1000, 1000) == [words]


def test_fewer_patients_and_other_classes_are_named() -> None:
    found = violations(load_policy(), FULL, ("NORMAL", "BACTERIA", "VIRUS"), 999, 1000)
    assert found == [
        "the classes NORMAL, BACTERIA, VIRUS are not NORMAL, PNEUMONIA",
        "it was trained on 999 patients, fewer than the champion's 1000",
    ]


def test_a_plan_may_allow_fewer_patients(tmp_path: Path) -> None:
    policy = load_policy(edited(tmp_path, "fewer_patients = false", "fewer_patients = true"))
    assert violations(policy, FULL, CLASSES, 999, 1000) == []


def test_the_digest_is_of_the_values(tmp_path: Path) -> None:
    same = load_policy(edited(tmp_path, "# Predetermined", "# Another comment: predetermined"))
    assert same.digest == load_policy(BUILT_IN).digest
    assert load_policy(edited(tmp_path, "auroc = 0.02", "auroc = 0.03")).digest != same.digest


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("auroc = 0.02\n", "", "protocol: .*margins: give each of auroc, sensitivity"),
        ("auroc = 0.02", "auroc = 1.5", "protocol.margins.auroc: .*less than or equal to 1"),
        ('"resnet18"', '"resnet81"', "modifications: .*resnet81 unknown; known: resnet18, tiny"),
        ('"train.epochs"', '"train.epoch"', "train.epoch is no setting"),
        ('"train.epochs" = [3, 100]', '"train.epochs" = [100, 3]', "train.epochs: 100 is above 3"),
        ("openings_per_release", "openings_a_release", "unknown key; did you mean openings_per_release"),
        ('promotes = ["better", "not worse"]', 'promotes = ["equal"]', "protocol.promotes.0"),
    ],
)
def test_what_is_no_plan_is_refused_by_its_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"plan.toml: not a change control plan:(.|\n)*{words}"):
        load_policy(edited(tmp_path, old, new))


def test_a_plan_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load_policy(str(tmp_path / "none.toml"))


def test_demos_need_no_plan() -> None:
    for profile, root in (("fast", "data"), ("fast", "phantom"), ("full", "phantom")):
        assert resolve(profile, assignments=[f"data.root={root}"], environment={}).gate.demo
    assert not FULL.gate.demo
    assert not Config().gate.demo
