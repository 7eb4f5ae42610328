"""Promotion and rollback, also when they are interrupted at any of their steps or decided on what is no longer so."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from pneumonia.errors import PneumoniaError
from pneumonia.registry import ledger, models, moves, withdrawals
from pneumonia.registry.moves import ChampionMoved, Outcome, VersionWithdrawn
from pneumonia.tracking.client import mlflow_client
from tests.support.registered import NAME, assert_one_order, champion_of, promote, promoted, registered, state
from tests.support.trained import record_of


def rollback(uri: str, leaving: str, name: str = NAME, why: str = "false alarms") -> Outcome:
    return moves.rollback(uri, name, "eve", why, leaving=leaving)


# --- promotion


def test_promotion_and_rollback(any_uri: str) -> None:
    name = f"moves-{uuid.uuid4().hex}"
    registered(any_uri, name), registered(any_uri, name)
    assert champion_of(any_uri, name) is None
    assert models.history(any_uri, name) == []

    first = moves.promote(any_uri, name, "1", "ada", "the first", against=None)
    second = moves.promote(any_uri, name, "2", "bob", "better", against="1")
    assert (champion_of(any_uri, name), models.get(any_uri, name, "previous").version) == ("2", "1")
    move = second.move
    assert (move.from_version, move.to_version, move.who, move.why) == ("1", "2", "bob", "better")
    assert datetime.fromisoformat(move.when).utcoffset() == timedelta(0)

    back = rollback(any_uri, "2", name)
    assert (back.move.from_version, back.move.to_version, back.made) == ("2", "1", True)
    assert champion_of(any_uri, name) == "1"
    assert models.history(any_uri, name) == [first.move, second.move, back.move]
    assert_one_order(any_uri, name)


def test_a_promotion_done_twice_is_one(uri: str) -> None:
    promoted(uri, 2)
    before = state(uri)
    again = moves.promote(uri, NAME, "2", "bob", "again", against="1")
    assert again == Outcome(models.history(uri, NAME)[-1], made=False)
    assert state(uri) == before


def test_an_earlier_champion_can_be_promoted_again(uri: str) -> None:
    promoted(uri, 2)
    moves.promote(uri, NAME, "1", "ada", "after all", against="2")
    assert state(uri).aliases == {"champion": "1", "previous": "2"}
    assert_one_order(uri)


def test_a_verdict_against_an_earlier_champion_promotes_nothing(any_uri: str) -> None:
    name = f"stale-{uuid.uuid4().hex}"
    for _ in range(3):
        registered(any_uri, name)
    promote(any_uri, "1", name)
    judged = champion_of(any_uri, name)
    promote(any_uri, "3", name, who="bob", why="came in between")
    with pytest.raises(ChampionMoved, match=r"version 3 is champion, not version 1 .*by bob.*between.; validate again"):
        moves.promote(any_uri, name, "2", "ada", "better than 1", against=judged)
    assert champion_of(any_uri, name) == "3"
    with pytest.raises(ChampionMoved, match="not none"):
        moves.promote(any_uri, name, "2", "ada", "the first", against=None)
    assert moves.promote(any_uri, name, "2", "ada", "better than 3", against="3").made


def test_phantoms_never_become_champion_of_the_real_model(uri: str) -> None:
    registered(uri, phantom=True)
    with pytest.raises(PneumoniaError, match="phantoms"):
        moves.promote(uri, NAME, "1", "ada", "why", against=None)
    assert state(uri) == ({}, [], set(), set())
    registered(uri, f"{NAME}-phantom")
    assert promote(uri, "1", f"{NAME}-phantom").made


def test_a_version_of_unknown_origin_never_becomes_champion(uri: str) -> None:
    registered(uri)
    mlflow_client(uri).create_model_version(NAME, "file:///somewhere/else")
    with pytest.raises(PneumoniaError, match="has no record of what it was trained on"):
        moves.promote(uri, NAME, "2", "ada", "why", against=None)


def test_there_is_no_such_version(uri: str) -> None:
    with pytest.raises(PneumoniaError, match="there are: none"):
        moves.promote(uri, NAME, "1", "ada", "why", against=None)


# --- rollback and withdrawal


def test_a_rollback_withdraws_the_version_that_it_leaves(any_uri: str) -> None:
    name = f"withdrawn-{uuid.uuid4().hex}"
    promoted(any_uri, 2, name)
    rollback(any_uri, "2", name)
    assert "by eve at " in models.get(any_uri, name, "2").withdrawn
    assert models.get(any_uri, name, "2").withdrawn.endswith("UTC: false alarms")
    assert "false alarms" in mlflow_client(any_uri).get_model_version(name, "2").tags["withdrawn"]
    with pytest.raises(VersionWithdrawn, match=r"version 2 was withdrawn by eve .*false alarms.*--despite-verdict"):
        promote(any_uri, "2", name)
    assert champion_of(any_uri, name) == "1"
    done = moves.promote(any_uri, name, "2", "ada", "was the device", against="1", despite=True)
    assert done.move.why == "was the device"
    assert done.move.despite[0].startswith("the withdrawal: version 2 was withdrawn by eve")
    assert models.get(any_uri, name, "2").withdrawn == ""
    assert_one_order(any_uri, name)


def test_the_same_model_of_another_run_is_withdrawn_too(uri: str) -> None:
    promoted(uri, 1)
    registered(uri, weights="ab" * 32)
    promote(uri, "2")
    rollback(uri, "2")
    registered(uri, weights="ab" * 32)
    with pytest.raises(VersionWithdrawn, match="version 2 was withdrawn"):
        promote(uri, "3")
    assert withdrawals.withdrawal(uri, record_of(NAME, "ab" * 32)) is not None
    assert withdrawals.withdrawal(uri, record_of(NAME, "cd" * 32)) is None
    registered(uri, weights="ab" * 32, threshold=0.7)
    assert promote(uri, "4").made, "another threshold is another model"


def test_a_rollback_done_twice_is_refused_with_what_happened(any_uri: str) -> None:
    name = f"twice-{uuid.uuid4().hex}"
    promoted(any_uri, 3, name)
    rollback(any_uri, "3", name)
    before = state(any_uri, name)
    with pytest.raises(ChampionMoved, match=r"version 2 is champion, not version 3 .*rollback 3 -> 2 by eve") as caught:
        rollback(any_uri, "3", name)
    assert caught.value.champion == "2"
    assert state(any_uri, name) == before
    assert before.aliases == {"champion": "2", "previous": "1"}


def test_rollbacks_go_on_to_champions_that_are_not_withdrawn(uri: str) -> None:
    promoted(uri, 3)
    assert rollback(uri, "3").move.to_version == "2"
    assert rollback(uri, "2").move.to_version == "1"
    assert state(uri).aliases == {"champion": "1"}
    with pytest.raises(PneumoniaError, match=r"no previous champion.*1 \(champion\), 2 \(withdrawn\), 3 \(withdrawn\)"):
        rollback(uri, "1")
    assert_one_order(uri)


def test_a_deleted_version_is_not_gone_back_to(uri: str) -> None:
    promoted(uri, 3)
    mlflow_client(uri).delete_model_version(NAME, "2")
    assert rollback(uri, "3").move.to_version == "1"


def test_nothing_to_go_back_to(uri: str) -> None:
    with pytest.raises(PneumoniaError, match="no version is registered"):
        rollback(uri, "1")
    promoted(uri, 1)
    with pytest.raises(PneumoniaError, match=r"no previous champion.*versions: 1 \(champion\).*pneumonia promote"):
        rollback(uri, "1")
    assert len(models.history(uri, NAME)) == 1


# --- aliases moved by hand


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "SETTLING_SECONDS", 0.0)


def test_a_champion_set_by_hand_is_entered(uri: str) -> None:
    promoted(uri, 2)
    mlflow_client(uri).set_registered_model_alias(NAME, "champion", "1")
    move = promote(uri, "1", why="as the page shows").move
    assert (move.from_version, move.to_version) == ("2", "1")
    assert models.history(uri, NAME)[-1] == move
    assert_one_order(uri)


@pytest.mark.usefixtures("quick")
def test_nothing_is_promoted_over_a_champion_set_by_hand(uri: str) -> None:
    promoted(uri, 2)
    registered(uri)
    mlflow_client(uri).set_registered_model_alias(NAME, "champion", "1")
    for against in ("1", "2"):
        with pytest.raises(PneumoniaError, match=r"version 1 has the alias champion.*by the ledger it is version 2"):
            moves.promote(uri, NAME, "3", "ada", "why", against=against)
    assert champion_of(uri) == "1"
    assert not moves.promote(uri, NAME, "2", "ada", "undo it", against="1").made
    assert_one_order(uri)


def test_an_alias_that_was_removed_does_not_stop_a_promotion(uri: str) -> None:
    promoted(uri, 2)
    registered(uri)
    mlflow_client(uri).delete_registered_model_alias(NAME, "champion")
    assert promote(uri, "3").move.from_version == "2"
    assert_one_order(uri)


# --- interrupted moves

WRITES = (
    "create_experiment",
    "create_run",
    "set_terminated",
    "rename_experiment",
    "log_param",
    "set_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_registered_model_tag",
    "set_model_version_tag",
    "delete_model_version_tag",
)
"""What a move changes a registry with."""


def cut_short(monkeypatch: pytest.MonkeyPatch, after: int, move: Callable[[], Outcome]) -> bool:
    """Do `move`, killed before its change number `after`; whether it came that far."""
    done = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal done
            if done == after:
                raise KeyboardInterrupt
            done += 1
            return change(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in WRITES:
            patch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
        try:
            move()
        except KeyboardInterrupt:
            return True
    return False


def first(uri: str) -> Outcome:
    return promote(uri, "1", f"{NAME}-new")


def third(uri: str) -> Outcome:
    return promote(uri, "3")


def back(uri: str) -> Outcome:
    """A rollback as a person repeats it, who has seen nothing of the first."""
    try:
        return rollback(uri, "2")
    except ChampionMoved:
        return Outcome(models.history(uri, NAME)[-1], made=False)


LENGTHS = {first: 8, third: 5, back: 6}
"""How many changes each move makes: the ledger's run, the entry, the head, two aliases, a version's tag, the number."""


@pytest.mark.parametrize(("move", "length"), LENGTHS.items())
def test_a_move_has_so_many_changes(
    uri: str, monkeypatch: pytest.MonkeyPatch, move: Callable[[str], Outcome], length: int
) -> None:
    promoted(uri, 2)
    registered(uri)
    registered(uri, f"{NAME}-new")
    assert not cut_short(monkeypatch, length, lambda: move(uri))
    assert_one_order(uri)


@pytest.mark.parametrize(
    ("move", "after"), [(move, after) for move, length in LENGTHS.items() for after in range(length)]
)
def test_a_move_that_was_cut_short_is_completed_by_doing_it_again(
    uri: str, monkeypatch: pytest.MonkeyPatch, move: Callable[[str], Outcome], after: int
) -> None:
    promoted(uri, 2)
    registered(uri)
    registered(uri, f"{NAME}-new")
    assert cut_short(monkeypatch, after, lambda: move(uri))
    again = move(uri).move
    name = f"{NAME}-new" if move is first else NAME
    expected = {first: ("promote", None, "1"), third: ("promote", "2", "3"), back: ("rollback", "2", "1")}[move]
    assert (again.action, again.from_version, again.to_version) == expected
    past = [] if move is first else [("promote", None, "1"), ("promote", "1", "2")]
    assert state(uri, name).moves == [*past, expected]
    assert_one_order(uri, name)


@pytest.mark.parametrize(("move", "after"), [(move, after) for move in (third, back) for after in range(LENGTHS[move])])
def test_another_promotion_after_one_cut_short(
    uri: str, monkeypatch: pytest.MonkeyPatch, move: Callable[[str], Outcome], after: int
) -> None:
    promoted(uri, 2)
    registered(uri)
    registered(uri)
    assert cut_short(monkeypatch, after, lambda: move(uri))
    entered = len(models.history(uri, NAME))
    assert entered == (2 if after == 0 else 3)
    promote(uri, "4", who="bob")
    assert len(models.history(uri, NAME)) == entered + 1
    assert champion_of(uri) == "4"
    assert_one_order(uri)


# --- the ledger


def test_the_ledger_keeps_its_order_whatever_the_clock_says(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(uri, 1)

    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2100, 1, 1, tzinfo=tz)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "datetime", Late)
        promoted(uri, 1)
    registered(uri)
    promote(uri, "3")
    past = models.history(uri, NAME)
    assert [move.to_version for move in past] == ["1", "2", "3"]
    assert sorted(move.when for move in past) == [move.when for move in past]


def test_long_reasons_fit_into_the_database(any_uri: str) -> None:
    name = f"long-{uuid.uuid4().hex}"
    promoted(any_uri, 2, name)
    moves.rollback(any_uri, name, '"\\' * 5000, '"\n' * 5000, leaving="2")
    move = models.history(any_uri, name)[-1]
    assert move.who.startswith('"\\')
    assert '" "' in move.why
    assert_one_order(any_uri, name)


def test_the_moves_of_an_earlier_release_are_taken_over(uri: str) -> None:
    registered(uri), registered(uri)
    client = mlflow_client(uri)
    entry = ledger.compose([], "ada", "before", "promote", None, "1").model_dump_json(exclude={"id"})
    client.set_registered_model_tag(NAME, "ledger.20000101T000000.000000Z.abc", entry)
    client.set_registered_model_alias(NAME, "champion", "1")
    assert [move.why for move in models.history(uri, NAME)] == ["before"]
    promote(uri, "2", why="after")
    assert [move.why for move in models.history(uri, NAME)] == ["before", "after"]
    assert_one_order(uri)


def test_a_damaged_entry_is_told(uri: str) -> None:
    promoted(uri, 1)
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name(f"champion ledger: {NAME}")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    client.log_param(run.info.run_id, "move-000002", "nonsense")
    with pytest.raises(PneumoniaError, match=r"move-000002 .*'nonsense'"):
        models.history(uri, NAME)


def test_a_ledger_that_was_deleted_is_told_and_not_begun_anew(uri: str) -> None:
    promoted(uri, 1)
    registered(uri)
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name(f"champion ledger: {NAME}")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(PneumoniaError, match=f"was deleted; restore it: .* -x {experiment.experiment_id}"):
        promote(uri, "2")
    client.restore_experiment(experiment.experiment_id)
    assert promote(uri, "2").made


def test_a_rollback_that_was_cut_short_is_heeded_by_every_consumer(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(uri, 2)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(moves, "_apply", killed)
        with pytest.raises(KeyboardInterrupt):
            rollback(uri, "2")
    assert state(uri).aliases["champion"] == "2", "the alias is not set yet"
    assert champion_of(uri) == "1", "what is withdrawn is used by nobody"
    assert models.get(uri, NAME, "champion").version == "1"
