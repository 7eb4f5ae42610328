"""A recipe's digest: equal for what repeats it, another for what changes it."""

from __future__ import annotations

import pytest

from pneumonia.config.recipe import of_fold, recipe_digest, without_folds
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config

FULL = resolve("full", assignments=["data.root=images", "model.weights=none"], environment={})


def changed(*assignments: str) -> Config:
    return resolve("full", assignments=["data.root=images", "model.weights=none", *assignments], environment={})


def test_every_fold_of_every_seed_is_of_the_recipe_of_a_training_of_all_patients() -> None:
    folds = [of_fold(FULL, seed, 5, fold) for seed in (0, 3) for fold in range(5)]
    assert {recipe_digest(one) for one in folds} == {recipe_digest(FULL)}
    assert {(one.train.seed, one.data.split_seed, one.data.folds, one.data.fold) for one in folds} == {
        (seed, seed, 5, fold) for seed in (0, 3) for fold in range(5)
    }
    assert without_folds(folds[0]) == FULL
    with pytest.raises(ValueError, match="none of the 5 folds"):
        of_fold(FULL, 0, 5, 5)


@pytest.mark.parametrize(
    "assignment",
    [
        *("work=elsewhere", "data.root=other", "data.workers=3", "tracking.experiment=x", "train.threads=3"),
        *("train.precision=fp32", "train.device=cpu", "train.seed=9", "data.split_seed=9", "evaluation.bootstrap=500"),
        *("gate.min_auroc=0.5", "serving.threads=1", "monitoring.window=500", "registry.name=pneumonia-other"),
    ],
)
def test_places_seeds_and_reports_are_no_part_of_it(assignment: str) -> None:
    assert changed(assignment) != FULL
    assert recipe_digest(changed(assignment)) == recipe_digest(FULL)


@pytest.mark.parametrize(
    "assignment",
    [
        *(
            "train.epochs=3",
            "train.learning_rate=0.01",
            "preprocess.size=128",
            "augment.flip=0",
            "model.weights=imagenet",
        ),
        *("model.architecture=tiny", "operating_point.calibrate=false", "data.patient_fraction=0.5"),
        *("data.validation_fraction=0.3", "data.gate_fraction=0.2"),
    ],
)
def test_what_is_trained_is(assignment: str) -> None:
    assert recipe_digest(changed(assignment)) != recipe_digest(FULL)


def test_a_file_of_weights_counts_by_its_name() -> None:
    one, same, other = (changed(f"model.weights={path}") for path in ("/a/w.pt", "/b/w.pt", "/a/v.pt"))
    assert recipe_digest(one) == recipe_digest(same) != recipe_digest(other)
