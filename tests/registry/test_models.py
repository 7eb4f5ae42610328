"""Versions, champions and the ledger, also when a move is interrupted at any of its steps."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from pneumonia.config.schema import Config
from pneumonia.errors import PneumoniaError, TrackingError
from pneumonia.registry import ledger, models
from pneumonia.registry.ledger import Move
from pneumonia.registry.models import Version
from pneumonia.tracking.client import mlflow_client, tracking_uri
from tests.support.mlflow_server import free_port
from tests.support.trained import record_of

NAME = "pneumonia-resnet18"
MOVES = ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_tag")
"""What a move changes a registry with."""


@pytest.fixture(params=["sqlite", "http"])
def any_uri(request: pytest.FixtureRequest) -> str:
    if request.param == "http":
        return str(request.getfixturevalue("mlflow_server"))
    return tracking_uri(Config(work=str(request.getfixturevalue("work"))))


@pytest.fixture
def uri(work: Path) -> str:
    return tracking_uri(Config(work=str(work)))


def registered(uri: str, name: str = NAME, weights: str = "", phantom: bool = False) -> Version:
    """Register a model of a run of its own."""
    client = mlflow_client(uri)
    run = client.create_run("0").info.run_id
    model = client.create_logged_model("0", "model", source_run_id=run)
    client.finalize_logged_model(model.model_id, "READY")
    source = f"models:/{model.model_id}"
    return models.register(uri, record_of(name, weights or uuid.uuid4().hex, phantom=phantom), run, source)


def promoted(uri: str, count: int) -> list[Version]:
    """Register and promote versions, one after the other."""
    versions = [registered(uri) for _ in range(count)]
    for version in versions:
        models.promote(uri, NAME, version.version, "ada", "it is better")
    return versions


def state(uri: str) -> tuple[dict[str, str], list[tuple[str, str | None, str | None]], bool]:
    """Aliases, moves, and whether a move is pending."""
    model = mlflow_client(uri).get_registered_model(NAME)
    moves = [(move.action, move.from_version, move.to_version) for move in models.history(uri, NAME)]
    return {alias: str(version) for alias, version in model.aliases.items()}, moves, ledger.PENDING in model.tags


# --- versions


def test_the_same_weights_of_the_same_run_are_registered_once(any_uri: str) -> None:
    name = f"once-{uuid.uuid4().hex}"
    first = registered(any_uri, name, "ab" * 32)
    model = mlflow_client(any_uri).search_logged_models(["0"], filter_string=f"source_run_id = '{first.run_id}'")[0]
    source = f"models:/{model.model_id}"
    again = models.register(any_uri, record_of(name, "ab" * 32), first.run_id, source)
    other = models.register(any_uri, record_of(name, "cd" * 32), first.run_id, source)
    assert again == first
    assert [version.version for version in models.versions(any_uri, name)] == ["1", "2"]
    assert (other.version, other.uri) == ("2", f"models:/{name}/2")
    assert first.weights_digest == "ab" * 32
    assert mlflow_client(any_uri).get_model_version(name, "1").tags["profile"] == "full"


def test_a_version_leads_to_its_model(any_uri: str) -> None:
    name = f"leads-{uuid.uuid4().hex}"
    version = registered(any_uri, name)
    client = mlflow_client(any_uri)
    model = client.search_logged_models(["0"], filter_string=f"source_run_id = '{version.run_id}'")[0]
    assert client.get_model_version_download_uri(name, version.version) == model.artifact_location


def test_versions_are_in_order_beyond_a_page(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(11):
        registered(uri)
    whole = MlflowClient.search_model_versions
    monkeypatch.setattr(MlflowClient, "search_model_versions", lambda *a, **k: whole(*a, **{**k, "max_results": 3}))
    assert [version.version for version in models.versions(uri, NAME)] == [str(number) for number in range(1, 12)]


def test_get_by_number_and_by_alias(uri: str) -> None:
    promoted(uri, 2)
    assert models.get(uri, NAME, "1").aliases == ["previous"]
    assert models.get(uri, NAME, "champion").version == "2"
    with pytest.raises(PneumoniaError, match=r"'7'; there are: 1 \(previous\), 2 \(champion\)"):
        models.get(uri, NAME, "7")


def test_a_machine_without_a_database_has_no_models_and_gets_none(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert models.champion(uri, NAME) is None
    assert models.versions(uri, NAME) == models.champions(uri) == models.history(uri, NAME) == []
    with pytest.raises(PneumoniaError, match=r"flows/pipeline\.py"):
        models.rollback(uri, NAME, "ada", "why")
    assert list(tmp_path.iterdir()) == []


# --- moves


def test_promotion_and_rollback(any_uri: str) -> None:
    name = f"moves-{uuid.uuid4().hex}"
    first, second = registered(any_uri, name), registered(any_uri, name)
    assert models.champion(any_uri, name) is None
    assert models.history(any_uri, name) == []

    models.promote(any_uri, name, first.version, "ada", "the first")
    move = models.promote(any_uri, name, second.version, "bob", "better")
    champion = models.champion(any_uri, name)
    assert champion is not None
    assert champion.version == second.version
    assert models.get(any_uri, name, "previous").version == first.version
    assert (move.from_version, move.to_version, move.who, move.why) == ("1", "2", "bob", "better")
    assert datetime.fromisoformat(move.when).utcoffset() == timedelta(0)

    back = models.rollback(any_uri, name, "eve", "it was not")
    champion = models.champion(any_uri, name)
    assert champion is not None
    assert champion.version == first.version
    assert models.get(any_uri, name, "previous").version == second.version
    assert [entry.action for entry in models.history(any_uri, name)] == ["promote", "promote", "rollback"]
    assert models.history(any_uri, name)[-1] == back
    assert models.rollback(any_uri, name, "eve", "it was after all").to_version == second.version


def test_a_promotion_done_twice_is_one(uri: str) -> None:
    promoted(uri, 2)
    before = state(uri)
    assert models.promote(uri, NAME, "2", "bob", "again") == models.history(uri, NAME)[-1]
    assert state(uri) == before


def test_an_earlier_champion_can_be_promoted_again(uri: str) -> None:
    promoted(uri, 2)
    models.promote(uri, NAME, "1", "ada", "after all")
    assert state(uri)[0] == {"champion": "1", "previous": "2"}
    assert len(models.history(uri, NAME)) == 3


def test_phantoms_never_become_champion_of_the_real_model(uri: str) -> None:
    registered(uri, phantom=True)
    with pytest.raises(PneumoniaError, match="phantoms"):
        models.promote(uri, NAME, "1", "ada", "why")
    assert state(uri) == ({}, [], False)
    registered(uri, f"{NAME}-phantom", phantom=True)
    assert models.promote(uri, f"{NAME}-phantom", "1", "ada", "why").to_version == "1"


def test_a_version_of_unknown_origin_never_becomes_champion(uri: str) -> None:
    registered(uri)
    mlflow_client(uri).create_model_version(NAME, "file:///somewhere/else")
    with pytest.raises(PneumoniaError, match="has no record of what it was trained on"):
        models.promote(uri, NAME, "2", "ada", "why")


def test_nothing_to_go_back_to(uri: str) -> None:
    with pytest.raises(PneumoniaError, match="no version is registered"):
        models.rollback(uri, NAME, "ada", "why")
    promoted(uri, 1)
    with pytest.raises(PneumoniaError, match=r"no previous champion.*versions: 1 \(champion\).*pneumonia promote"):
        models.rollback(uri, NAME, "ada", "why")
    assert len(models.history(uri, NAME)) == 1


def test_there_is_no_such_version(uri: str) -> None:
    with pytest.raises(PneumoniaError, match="there are: none"):
        models.promote(uri, NAME, "1", "ada", "why")


def test_champions_of_all_names(uri: str) -> None:
    promoted(uri, 1)
    registered(uri, "without")
    registered(uri, f"{NAME}-phantom", phantom=True)
    models.promote(uri, f"{NAME}-phantom", "1", "ada", "why")
    assert [version.name for version in models.champions(uri)] == [NAME, f"{NAME}-phantom"]


def test_an_unreachable_registry_is_told() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TrackingError, match=rf"{address}.*Connection refused"):
        models.champion(address, NAME)


# --- interrupted moves


def cut_short(monkeypatch: pytest.MonkeyPatch, after: int, move: Callable[[], Move]) -> bool:
    """Do `move`, killed before its change number `after`; whether it came that far."""
    done = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal done
            if done == after:
                raise KeyboardInterrupt
            done += 1
            return change(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in MOVES:
            patch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
        try:
            move()
        except KeyboardInterrupt:
            return True
    return False


def promote(uri: str) -> Move:
    return models.promote(uri, NAME, "3", "ada", "why")


def rollback(uri: str) -> Move:
    return models.rollback(uri, NAME, "ada", "why")


@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize(
    ("move", "aliases", "entry"),
    [
        (promote, {"champion": "3", "previous": "2"}, ("promote", "2", "3")),
        (rollback, {"champion": "1", "previous": "2"}, ("rollback", "2", "1")),
    ],
)
def test_a_move_that_was_cut_short_is_completed_by_doing_it_again(
    uri: str,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    move: Callable[[str], Move],
    aliases: dict[str, str],
    entry: tuple[str, str | None, str | None],
) -> None:
    promoted(uri, 2)
    registered(uri)
    assert cut_short(monkeypatch, after, lambda: move(uri))
    again = move(uri)
    assert (again.action, again.from_version, again.to_version) == entry
    assert state(uri) == (aliases, [("promote", None, "1"), ("promote", "1", "2"), entry], False)


def test_a_move_has_five_changes(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(uri, 2)
    registered(uri)
    assert not cut_short(monkeypatch, 5, lambda: promote(uri))


@pytest.mark.parametrize("after", range(5))
def test_another_promotion_after_one_cut_short(uri: str, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    promoted(uri, 2)
    registered(uri)
    registered(uri)
    cut_short(monkeypatch, after, lambda: promote(uri))
    champion = models.get(uri, NAME, "champion").version
    models.promote(uri, NAME, "4", "bob", "why")
    aliases, moves, pending = state(uri)
    assert aliases == {"champion": "4", "previous": champion}
    assert not pending
    # whoever was champion is in the ledger, each move going on from the one before
    assert [move[1] for move in moves[1:]] == [move[2] for move in moves[:-1]]


def test_a_champion_set_by_hand_is_entered(uri: str) -> None:
    promoted(uri, 2)
    mlflow_client(uri).set_registered_model_alias(NAME, "champion", "1")
    move = models.promote(uri, NAME, "1", "ada", "as the page shows")
    assert (move.from_version, move.to_version) == ("2", "1")
    assert models.history(uri, NAME)[-1] == move


# --- the ledger


def test_the_ledger_keeps_its_order_whatever_the_clock_says(uri: str) -> None:
    promoted(uri, 1)
    late = Move(
        when="2100-01-01T00:00:00.000000+00:00", who="a", why="b", action="promote", from_version="1", to_version="1"
    )
    ledger.append(mlflow_client(uri), NAME, late)
    registered(uri)
    models.promote(uri, NAME, "2", "ada", "why")
    assert [move.to_version for move in models.history(uri, NAME)] == ["1", "1", "2"]


def test_long_reasons_fit_into_the_database(any_uri: str) -> None:
    name = f"long-{uuid.uuid4().hex}"
    registered(any_uri, name)
    models.promote(any_uri, name, "1", "ä" * 5000, '"\n' * 5000)
    (tag,) = (text for key, text in mlflow_client(any_uri).get_registered_model(name).tags.items() if "ledger." in key)
    assert len(tag) <= 5000
    (move,) = models.history(any_uri, name)
    assert move.who.startswith("ää")


def test_a_damaged_entry_is_told(uri: str) -> None:
    promoted(uri, 1)
    mlflow_client(uri).set_registered_model_tag(NAME, "ledger.20000101T000000.000000Z.x", "nonsense")
    with pytest.raises(PneumoniaError, match=r"ledger\.20000101.*'nonsense'"):
        models.history(uri, NAME)
