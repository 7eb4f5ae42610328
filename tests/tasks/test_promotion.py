"""Promotion when the registry has moved since the validation, and a gate that meets an altered or withdrawn model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.errors import PneumoniaError
from pneumonia.modelling.network import build_network, load_model
from pneumonia.modelling.weights import save_weights, state_digest
from pneumonia.records.model import read_record
from pneumonia.records.steps import Dataset, Promotion, TrainedModel, Validation
from pneumonia.registry import models, moves
from pneumonia.registry import promotion as promotion_by_hand
from pneumonia.tracking.client import mlflow_client
from tasks import promote_model as step
from tasks import validate_model
from tasks.prepare_data import prepare_data
from tasks.promote_model import promote_or_validate_again
from tasks.train_model import train_model
from tests.support.plan import planned
from tests.support.small import small
from tests.support.steps import built, exported, promoted, run

NAME = "pneumonia-tiny-phantom"
Judged = tuple[Dataset, TrainedModel, Validation]


def validated(config: Config) -> Judged:
    dataset = prepare_data(config)
    trained = train_model(dataset, config)
    return dataset, trained, validate_model.validate_model(dataset, trained, exported(dataset, trained, config), config)


def again(
    dataset: Dataset, trained: TrainedModel, validation: Validation, config: Config
) -> tuple[Validation, Promotion]:
    graphs, dossier = exported(dataset, trained, config), built(dataset, trained, validation, config)
    return promote_or_validate_again(dataset, trained, graphs, validation, dossier, config)


def test_a_verdict_against_an_earlier_champion_asks_for_another_validation(work: Path) -> None:
    first = run(small(work))
    config = small(work, "train.seed=1")
    dataset, trained, validation = validated(config)
    assert validation.verdict.passed
    between = run(small(work, "train.seed=2"))[3]
    assert between.promoted
    late = promoted(dataset, trained, validation, config)
    assert (late.promoted, late.validate_again, late.version, late.previous) == (False, True, None, between.version)
    assert f"version {between.version} is champion, not version {first[3].version}" in late.reason
    held = models.champion(trained.tracking_uri, NAME)
    assert held is not None
    assert held.version == between.version


def test_it_is_validated_again_once_and_then_promoted(work: Path) -> None:
    run(small(work))
    config = small(work, "train.seed=1")
    dataset, trained, validation = validated(config)
    between = run(small(work, "train.seed=2"))[3]
    last, promotion = again(dataset, trained, validation, config)
    assert promotion.promoted
    assert promotion.previous == between.version
    assert last.verdict.champion is not None
    assert last.verdict.champion.version == between.version
    assert last.openings is not None
    assert last.openings > 1, "the other model has opened the release set meanwhile"
    assert again(dataset, trained, last, config) == (
        last,
        promotion,
    ), "done twice it is one"


def test_a_second_verdict_that_is_not_passed_is_reported(work: Path) -> None:
    run(small(work))
    config = small(work, "train.seed=1")
    dataset, trained, validation = validated(config)
    run(small(work, "train.seed=2"))
    strict = small(work, "train.seed=1", "gate.min_auroc=1", "gate.min_specificity=1", "gate.min_sensitivity=1")
    assert train_model(dataset, strict) == trained
    last, promotion = again(dataset, trained, validation, strict)
    assert not last.verdict.passed
    assert (promotion.promoted, promotion.validate_again) == (False, False)


def test_a_champion_that_moves_again_is_not_run_after(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(work)
    dataset, trained, validation = validated(config)
    calls = {"validate": 0, "promote": 0}

    def validate(*_: object) -> Validation:
        calls["validate"] += 1
        return validation

    def promote(*_: object) -> Promotion:
        calls["promote"] += 1
        return Promotion(
            name=NAME, promoted=False, version=None, previous="9", reason="validate again", validate_again=True
        )

    monkeypatch.setattr(validate_model, "validate_model", validate)
    monkeypatch.setattr(step, "promote_model", promote)
    _, promotion = again(dataset, trained, validation, config)
    assert calls == {"validate": 1, "promote": 2}
    assert (promotion.promoted, promotion.validate_again) == (False, True)


@pytest.mark.parametrize("options", [{}, {"fresh": True}])
def test_the_identical_run_does_not_promote_what_was_withdrawn(work: Path, options: dict[str, bool]) -> None:
    first = run(small(work))
    second = run(small(work, "train.seed=1"))
    uri = second[1].tracking_uri
    assert second[3].version == "2"
    moves.rollback(uri, NAME, "eve", "false alarms on portable images", leaving="2")
    _, _, validation, promotion = run(small(work, "train.seed=1"), **options)
    assert [reason.name for reason in validation.verdict.reasons if not reason.passed] == ["withdrawn"]
    assert "version 2 was withdrawn by eve" in promotion.reason
    assert "false alarms on portable images" in Path(validation.report).read_text()
    assert (promotion.promoted, promotion.previous) == (False, first[3].version)
    held = models.champion(uri, NAME)
    assert held is not None
    assert held.version == first[3].version


def test_a_version_that_is_withdrawn_after_its_verdict_is_not_promoted(work: Path) -> None:
    run(small(work))
    config = small(work, "train.seed=1")
    dataset, trained, validation = validated(config)
    assert promoted(dataset, trained, validation, config).promoted
    moves.rollback(trained.tracking_uri, NAME, "eve", "false alarms", leaving="2")
    late = promoted(dataset, trained, validation, config)
    assert (late.promoted, late.validate_again) == (False, False)
    assert "version 2 was withdrawn by eve" in late.reason


def other_weights(path: Path) -> None:
    state = build_network("tiny", "none", seed=9).state_dict()
    save_weights(path, state, read_record(path).model_copy(update={"weights_digest": state_digest(state)}))


def other_threshold(path: Path) -> None:
    network, record = load_model(path)
    save_weights(path, network.state_dict(), record.model_copy(update={"threshold": 0.9}))


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_weights, "holds other weights than were registered"),
        (other_threshold, "uses these weights in another way than was registered"),
        (damaged, "restore the artifact"),
    ],
)
def test_a_champion_other_than_the_registered_one_is_refused_by_the_gate(
    work: Path, tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    _, trained, _, _ = run(planned(work))
    client = mlflow_client(trained.tracking_uri)
    copy = tmp_path / "model.safetensors"
    copy.write_bytes(Path(trained.weights).read_bytes())
    change(copy)
    client.log_artifact(trained.run_id, str(copy), "weights")
    with pytest.raises(PneumoniaError, match=words):
        validated(planned(work, "train.seed=1"))


def test_a_champion_that_is_validated_again_keeps_its_verdict(work: Path) -> None:
    first = run(small(work))
    _, _, again, promotion = run(small(work, "evaluation.bootstrap=120"))
    assert [reason.name for reason in again.verdict.reasons if not reason.passed] == ["already champion"]
    assert not promotion.promoted
    tags = mlflow_client(first[1].tracking_uri).get_run(first[1].run_id).data.tags
    assert tags["verdict"] == "passed", "to be champion already is no fault of a model"
    assert run(small(work)) == first, "the identical command finds the verdict that it was promoted with"
    run(small(work, "train.seed=1"))
    moves.rollback(first[1].tracking_uri, NAME, "eve", "worse", leaving="2")
    run(small(work, "train.seed=1"))  # refused, because it was withdrawn
    name, back = promotion_by_hand.promote_run(
        first[1].tracking_uri, latest(first[1].tracking_uri, "2"), "ada", "a mistake", despite=True
    )
    assert [each.partition(":")[0] for each in back.move.despite] == ["the withdrawal"], "it had passed"
    assert name == NAME


def latest(uri: str, version: str) -> str:
    return models.get(uri, NAME, version).run_id


def test_weights_that_were_withdrawn_in_another_use_are_told(work: Path) -> None:
    run(small(work))
    second = run(small(work, "train.seed=1"))
    moves.rollback(second[1].tracking_uri, NAME, "eve", "false alarms", leaving="2")
    _, _, validation, promotion = run(small(work, "train.seed=1", "operating_point.threshold=0.51"))
    assert promotion.promoted
    told = next(reason for reason in validation.verdict.reasons if reason.name == "withdrawn in another use")
    assert "version 2 was withdrawn by eve" in told.text
    assert told.text in models.history(second[1].tracking_uri, NAME)[-1].why
