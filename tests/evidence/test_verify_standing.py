"""`pneumonia verify`: how a version stands by the ledger, the aliases and its withdrawal, and what a folder lacks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.errors import PneumoniaError
from pneumonia.evidence.verify import _two, verify_bundle, verify_version
from pneumonia.registry import models, moves, promotion
from pneumonia.registry.models import Version
from pneumonia.tracking.client import mlflow_client, tracking_uri
from tests.cli.console import call
from tests.support.evidenced import FAILED, NAME, artifact, evidenced, execute, keys
from tests.support.registered import promote
from tests.support.runs import settings

pytestmark = pytest.mark.integration  # MLflow's import, if it is the first, starts a process

APPROVAL, ALIAS = "verdict against approval", "champion by alias and ledger"


@pytest.fixture
def config(work: Path) -> Config:
    return settings(work)


@pytest.fixture
def overridden(config: Config) -> Version:
    """The second champion, which has failed the gate and was promoted as an override."""
    uri = tracking_uri(config)
    promote(uri, evidenced(config, keys()).version, NAME)
    version = evidenced(config, keys(), FAILED, seed=1)
    promotion.promote_version(uri, NAME, version.version, "ada", "hurry", despite=True)
    return models.get(uri, NAME, version.version)


def failed(config: Config, version: Version) -> dict[str, str]:
    uri = tracking_uri(config)
    found = verify_version(uri, models.get(uri, NAME, version.version), keys())
    return {each.name: each.detail for each in found.checks if each.outcome == "failed"}


def options(config: Config) -> list[str]:
    return ["--set", f"work={config.work}", "--set", f"tracking.uri={tracking_uri(config)}"]


HEADS = {
    "without a head": "DELETE FROM tags WHERE key = 'chain-head' AND value LIKE '2:%'",
    "with the head of the first entry": """
        UPDATE tags SET value = (SELECT '1:' || substr(value, instr(value, '"previous":"') + 12, 64) FROM params
        WHERE key = 'move-000002') WHERE key = 'chain-head' AND value LIKE '2:%'
    """,
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("applied", [False, True])
def test_an_override_that_was_taken_out_of_the_ledger_is_named(
    config: Config, overridden: Version, head: str, applied: bool
) -> None:
    assert execute(config, head) == 1
    assert execute(config, "DELETE FROM params WHERE key = 'move-000002'") == 1
    uri = tracking_uri(config)
    if applied:  # even who adapts the number of applied moves leaves an alias that nobody has entered
        mlflow_client(uri).set_registered_model_tag(NAME, models.APPLIED, "1")
    found = failed(config, overridden)
    assert found[ALIAS].startswith("version 2 has the alias champion, and by the ledger it is version 1")
    assert "no entry of the ledger promotes it; not promoted; its verdict has failed: auroc" in found[APPROVAL]
    done = call("verify", "champion", "--name", NAME, "--json", *options(config))
    assert done.exit_code == 1
    assert ALIAS in {each["name"] for each in json.loads(done.stdout)["checks"] if each["outcome"] == "failed"}
    if not applied:
        assert "there are 1 moves, and the aliases were set for move 2" in found["ledger"]
        with pytest.raises(PneumoniaError, match="not as it was written"):
            models.champion(uri, NAME)


def test_chained_entries_without_a_head_are_named(config: Config, overridden: Version) -> None:
    execute(config, "DELETE FROM tags WHERE key = 'chain-head'")
    assert (
        "the tag chain-head, which every list with chained entries has, is missing"
        in failed(config, overridden)["ledger"]
    )
    shown = call("history", *options(config))
    assert (shown.exit_code, "the tag chain-head" in shown.stderr) == (1, True)
    with pytest.raises(PneumoniaError, match="chain-head"):
        moves.rollback(tracking_uri(config), NAME, "ada", "why", leaving="2")


def test_a_champion_without_a_ledger_is_named(config: Config) -> None:
    version, uri = evidenced(config, keys()), tracking_uri(config)
    assert failed(config, version) == {}
    mlflow_client(uri).set_registered_model_alias(NAME, models.CHAMPION, version.version)
    found = failed(config, version)
    assert set(found) == {ALIAS, APPROVAL, "ledger"}
    assert found["ledger"] == "version 1 has the alias champion, and the ledger is empty"
    shown = call("history", *options(config))
    assert (shown.exit_code, found["ledger"] in shown.stderr) == (1, True)


def test_a_writer_that_was_killed_after_its_first_chained_entry_leaves_an_intact_ledger(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger of an earlier release has no head: the head must be there before an entry that needs one."""
    uri = tracking_uri(config)
    promote(uri, evidenced(config, keys()).version, NAME)
    text = models.history(uri, NAME)[0].model_dump_json(exclude={"previous", "despite"})
    execute(config, "UPDATE params SET value = ? WHERE key = 'move-000001'", text)
    execute(config, "DELETE FROM tags WHERE key = 'chain-head'")
    from pneumonia.registry.append_only import AppendOnly

    set_head, heads = AppendOnly._set_head, []

    def killed(self: AppendOnly, run_id: str, head: object) -> None:
        heads.append(head)
        if len(heads) == 2:
            raise KeyboardInterrupt
        set_head(self, run_id, head)  # type: ignore[arg-type]

    monkeypatch.setattr(AppendOnly, "_set_head", killed)
    second = evidenced(config, keys(), seed=1)
    with pytest.raises(KeyboardInterrupt):
        promote(uri, second.version, NAME)
    assert [move.to_version for move in models.history(uri, NAME)] == ["1", "2"]


def test_a_withdrawn_version_is_named_whatever_its_number(config: Config) -> None:
    uri = tracking_uri(config)
    promote(uri, evidenced(config, keys(), seed=1).version, NAME)
    version = evidenced(config, keys())
    promote(uri, version.version, NAME)
    assert failed(config, version) == {}
    moves.rollback(uri, NAME, "ada", "false alarms", leaving="2")
    again = evidenced(config, keys())
    for each in (version, again):
        found = failed(config, each)
        assert list(found) == ["withdrawal"]
        assert found["withdrawal"].startswith("version 2 was withdrawn by ada at ")
        assert found["withdrawal"].endswith("UTC: false alarms")
    assert call("verify", version.version, "--name", NAME, *options(config)).exit_code == 1


def test_a_version_that_refers_to_another_versions_run_is_named(config: Config) -> None:
    first, second = evidenced(config, keys()), evidenced(config, keys(), seed=1)
    assert failed(config, second) == {}
    statement = "UPDATE model_versions SET run_id = ? WHERE version = 2"
    assert execute(config, statement, first.run_id) == 1
    assert failed(config, second)["listed run"].startswith(f"the run {first.run_id} is also the one of 1: ")


def test_a_folder_that_lacks_most_files_has_failed(config: Config, tmp_path: Path) -> None:
    version = evidenced(config, keys())
    for part in ("signature", "report"):
        shutil.copytree(artifact(config, version, part), tmp_path / part)
    found = verify_bundle(tmp_path, keys())
    assert [(each.name, each.detail) for each in found.checks if each.outcome == "failed"] == [
        ("files at hand", "8 of 10 listed files are not here")
    ]
    assert call("verify", "--bundle", str(tmp_path)).exit_code == 1


def test_two_digests_are_shown_until_they_differ() -> None:
    assert _two("a" * 64, "b" * 64) == ("a" * 12, "b" * 12)
    assert _two("a" * 20 + "c" * 44, "a" * 20 + "d" * 44) == ("a" * 20 + "cccc", "a" * 20 + "dddd")
