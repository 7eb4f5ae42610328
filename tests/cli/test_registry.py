"""`pneumonia promote`, `rollback` and `history`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from pneumonia.records.model import read_record
from pneumonia.registry import models, registration
from pneumonia.tracking.client import mlflow_client, tracking_uri
from tests.cli.console import call
from tests.support.registered import registered
from tests.support.runs import settings
from tests.support.trained import leave_run, save

NAME = "pneumonia-resnet18"
PHANTOM = f"{NAME}-phantom"


@pytest.fixture
def uri(work: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store that the commands use without being told."""
    found = tracking_uri(settings(work))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", found)
    monkeypatch.setenv("GIT_AUTHOR_NAME", "ada")
    return found


@pytest.fixture
def two(uri: str, work: Path, weights: Path) -> list[str]:
    """The runs of two registered versions of the real model."""
    record = read_record(weights)
    found = [leave_run(settings(work), weights, key=key) for key in ("a", "b")]
    client = mlflow_client(uri)
    for run in found:
        source = client.get_run(run).outputs.model_outputs[0].model_id
        registration.register(uri, record, run, f"models:/{source}")
    return found


def test_a_version_is_promoted_and_rolled_back(two: list[str], uri: str) -> None:
    first = call("promote", "--version", "1", "--why", "first", "--json")
    assert first.exit_code == 0
    move = json.loads(first.stdout)
    assert (move["name"], move["action"], move["from_version"], move["to_version"]) == (NAME, "promote", None, "1")
    assert (move["who"], move["why"]) == ("ada", "first")
    second = call("promote", "--version", "2", "--why", " better ", "--who", "ben")
    assert second.exit_code == 0
    assert f"promote   {NAME}  1 -> 2  by ben\n    better\n" in second.stdout
    back = call("rollback", "--why", "false alarms")
    assert back.exit_code == 0
    assert f"rollback  {NAME}  2 -> 1, which withdraws 2  by ada\n    false alarms\n" in back.stdout
    held = models.champion(uri, NAME)
    assert held is not None
    assert held.version == "1"


def test_a_rollback_repeated_by_a_nervous_hand_changes_nothing(two: list[str], uri: str) -> None:
    call("promote", "--version", "1", "--why", "first")
    call("promote", "--version", "2", "--why", "second")
    done = call("rollback", "--why", "false alarms")
    assert "leaving version 2 of pneumonia-resnet18" in done.stderr
    for arguments, words in (
        ((), "the last move was a rollback already (rollback 2 -> 1 by ada"),
        (("--from", "2"), "version 1 is champion, not version 2 (the last move: rollback 2 -> 1 by ada"),
    ):
        again = call("rollback", "--why", "false alarms", *arguments)
        assert (again.exit_code, again.stdout) == (1, "")
        assert words in again.stderr
    assert [move.action for move in models.history(uri, NAME)] == ["promote", "promote", "rollback"]


def test_a_withdrawn_version_is_promoted_only_expressly(two: list[str], uri: str) -> None:
    call("promote", "--version", "1", "--why", "first")
    call("promote", "--version", "2", "--why", "second")
    call("rollback", "--from", "2", "--why", "false alarms")
    assert f"rollback  {NAME}  2 -> 1, which withdraws 2  by ada\n    false alarms" in call("history").stdout
    for arguments in (("--version", "2"), ("--run", two[1])):
        refused = call("promote", *arguments, "--why", "again")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "version 2 was withdrawn by ada" in refused.stderr
        assert "--despite-verdict" in refused.stderr
    done = call("promote", "--version", "2", "--why", "it was the device", "--despite-verdict", "--json")
    assert json.loads(done.stdout)["despite"][0].startswith("the withdrawal: version 2 was withdrawn by ada")


def test_a_promotion_names_the_champion_that_it_was_compared_with(two: list[str]) -> None:
    call("promote", "--version", "1", "--why", "first")
    for arguments in (("--version", "2"), ("--run", two[1])):
        refused = call("promote", *arguments, "--why", "better", "--against", "9")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "version 1 is champion, not version 9" in refused.stderr
    assert call("promote", "--version", "2", "--why", "better", "--against", "1").exit_code == 0


def test_a_version_whose_run_did_not_pass_needs_an_express_word_too(two: list[str], uri: str) -> None:
    mlflow_client(uri).set_tag(two[0], "verdict", "not passed")
    refused = call("promote", "--version", "1", "--why", "hurry")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "has not passed the gate (not passed)" in refused.stderr
    done = call("promote", "--version", "1", "--why", "hurry", "--despite-verdict", "--json")
    assert json.loads(done.stdout)["despite"] == ["not passed"]


def test_history_is_the_ledger(two: list[str], uri: str) -> None:
    assert (call("history").stdout, json.loads(call("history", "--json").stdout)) == (
        "No model was promoted yet; train one with python flows/pipeline.py\n",
        [],
    )
    call("promote", "--version", "1", "--why", "first")
    call("promote", "--version", "2", "--why", "second")
    expected = [{"name": NAME, **move.model_dump(mode="json")} for move in models.history(uri, NAME)]
    for arguments in ((), ("--name", NAME)):
        assert json.loads(call("history", *arguments, "--json").stdout) == expected
    words = call("history").stdout
    assert words.index("none -> 1") < words.index("1 -> 2")


def test_history_names_all_models(two: list[str], work: Path, tmp_path: Path) -> None:
    run = leave_run(settings(work), save(tmp_path / "p" / "model.safetensors", PHANTOM), key="p")
    assert call("promote", "--run", run, "--why", "demo").exit_code == 0
    call("promote", "--version", "1", "--why", "first")
    assert [move["name"] for move in json.loads(call("history", "--json").stdout)] == [NAME, PHANTOM]
    done = call("history", "--name", "pneumonia-restnet18")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"no such model; there are: {NAME}, {PHANTOM}" in done.stderr


def test_promoting_the_champion_changes_nothing_and_says_so(two: list[str]) -> None:
    call("promote", "--version", "1", "--why", "first")
    done = call("promote", "--version", "champion", "--why", "once more")
    assert done.exit_code == 0
    assert f"{NAME} 1 is champion already; nothing was changed" in done.stderr
    assert len(json.loads(call("history", "--json").stdout)) == 1


def test_what_is_not_there_is_named(two: list[str]) -> None:
    unknown = call("promote", "--version", "9", "--why", "x")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "there is no version or alias '9'; there are: 1, 2" in unknown.stderr
    nothing = call("rollback", "--why", "x")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "no previous champion to roll back to" in nothing.stderr


def test_a_run_that_did_not_pass_needs_an_express_word(uri: str, work: Path, weights: Path) -> None:
    run = leave_run(settings(work), weights, "not passed")
    refused = call("promote", "--run", run, "--why", "hurry")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--despite-verdict" in refused.stderr
    done = call("promote", "--run", run, "--why", "hurry", "--despite-verdict", "--json")
    assert json.loads(done.stdout)["despite"] == ["not passed"]


def test_the_default_is_the_model_of_real_images(uri: str) -> None:
    """Also where no images lie and the pipeline would draw phantoms; and a name can be given in every way."""
    assert f"{NAME}:" in call("rollback", "--why", "x").stderr
    assert f"{PHANTOM}:" in call("rollback", "--why", "x", "--name", PHANTOM).stderr
    assert f"{NAME}-fast:" in call("rollback", "--why", "x", "--set", f"registry.name={NAME}-fast").stderr


def test_a_server_that_is_away_is_told(uri: str) -> None:
    for arguments in (("history",), ("promote", "--version", "1", "--why", "x"), ("rollback", "--why", "x")):
        done = call(*arguments, "--set", "tracking.uri=http://127.0.0.1:1")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "the tracking server cannot be reached" in done.stderr


def test_reading_leaves_the_work_folder_as_it_is(
    two: list[str], work: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("promote", "--version", "1", "--why", "first")
    assert call("predict", str(image), "--set", f"work={work}").exit_code == 0  # of no export: makes one, once
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in work.rglob("*")}

    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert call("history", "--set", f"work={work}").exit_code == 0
    assert call("predict", str(image), "--set", f"work={work}").exit_code == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in work.rglob("*")} == before
    refused = call("rollback", "--why", "w", "--set", f"work={work}")
    assert (refused.exit_code, "cannot be written (Read-only file system)" in refused.stderr) == (1, True)


@pytest.mark.parametrize("name", ["pneumonia-tiny-phantom", "tiny trial_2", "resnet18-or-tiny"])
def test_a_model_of_any_name_is_shown_and_moved(uri: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [registered(uri, name, phantom=name.endswith("-phantom")) for _ in range(2)]
    for architecture in ("resnet18", "tiny"):
        monkeypatch.setenv("PNEUMONIA_MODEL__ARCHITECTURE", architecture)
        for version in versions:
            assert call("promote", "--name", name, "--version", version.version, "--why", "x").exit_code == 0
        shown = call("history", "--name", name, "--json")
        assert json.loads(shown.stdout)[-1]["name"] == name
    monkeypatch.setenv("PNEUMONIA_REGISTRY__NAME", "pneumonia-resnet18")  # of what would be trained
    assert call("rollback", "--name", name, "--why", "x").exit_code == 0


def test_a_name_set_for_the_registry_commands_may_be_of_another_architecture(uri: str) -> None:
    done = call("rollback", "--why", "x", "--set", "registry.name=pneumonia-tiny")
    assert "pneumonia-tiny: there is no previous champion" in done.stderr


def test_what_is_not_found_says_in_which_store(two: list[str], uri: str, work: Path) -> None:
    for arguments in (
        ("promote", "--version", "9", "--why", "x"),
        ("rollback", "--why", "x"),
        ("history", "--name", "nobody"),
        ("history",),
        ("rollback", "--why", "x", "--name", "nobody"),
    ):
        assert str(work / "mlflow.db") in call(*arguments).stderr


def test_an_alias_that_was_removed_by_hand_is_told_with_what_sets_it_again(two: list[str], uri: str) -> None:
    call("promote", "--version", "1", "--why", "first")
    assert call("history").stderr == ""
    mlflow_client(uri).delete_registered_model_alias(NAME, "champion")
    for arguments in ((), ("--name", NAME), ("--json",)):
        done = call("history", *arguments)
        assert "first" in done.stdout
        assert "no version has the alias champion" in done.stderr
        assert f"pneumonia promote --name {NAME} --version 1 --why TEXT" in done.stderr
    call("promote", "--name", NAME, "--version", "1", "--why", "again")
    assert call("history").stderr == ""
    mlflow_client(uri).set_registered_model_alias(NAME, "champion", "2")
    assert "version 2 has the alias champion" in call("history").stderr


def test_an_alias_moved_to_a_withdrawn_version_is_entered_with_an_express_word(
    two: list[str], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumonia.registry.moves.SETTLING_SECONDS", 0.1)
    call("promote", "--version", "1", "--why", "first")
    call("promote", "--version", "2", "--why", "second")
    call("rollback", "--from", "2", "--why", "false alarms")
    third = registered(uri)
    mlflow_client(uri).set_registered_model_alias(NAME, "champion", "2")
    told = call("promote", "--version", third.version, "--why", "third")
    assert "--version 2 --despite-verdict --why TEXT" in told.stderr
    assert call("promote", "--version", "2", "--despite-verdict", "--why", "TEXT").exit_code == 0


def test_an_alias_names_the_champion_too(two: list[str], uri: str) -> None:
    call("promote", "--version", "1", "--why", "first")
    assert call("promote", "--version", "2", "--why", "second", "--against", "champion").exit_code == 0
    refused = call("promote", "--version", "1", "--why", "third", "--against", "previous")
    assert "version 2 is champion, not version 1" in refused.stderr
    assert call("rollback", "--why", "x", "--from", "champion").exit_code == 0
    again = call("rollback", "--why", "x", "--from", "champion")
    assert (again.exit_code, "the last move was a rollback already" in again.stderr) == (1, True)
