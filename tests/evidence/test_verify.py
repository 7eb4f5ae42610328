"""`pneumonia verify`: whatever was changed in the artifact store or the database is named."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.config.service import SigningConfig
from pneumonia.errors import DataError, PneumoniaError
from pneumonia.evidence.verify import verify_bundle, verify_version
from pneumonia.records.evaluation import Verdict
from pneumonia.records.verification import Verification
from pneumonia.registry import manifest, models, moves, openings, promotion
from pneumonia.registry.models import Version
from pneumonia.tracking.client import mlflow_client, tracking_uri
from tests.cli.console import call
from tests.support.evidenced import FAILED, NAME, PASSED, artifact, evidenced, execute, flip, keys
from tests.support.registered import promote, registered
from tests.support.runs import settings

pytestmark = pytest.mark.integration  # MLflow's import, if it is the first, starts a process

APPROVAL = "verdict against approval"
ENTRY = "UPDATE params SET value = replace(value, ?, ?) WHERE key = ?"


@pytest.fixture
def config(work: Path) -> Config:
    return settings(work)


@pytest.fixture
def version(config: Config) -> Version:
    """A signed version that was promoted after two others, with two openings before it was listed."""
    uri = tracking_uri(config)
    for weights in "ab":
        openings.enter(uri, "rows", weights=weights, model="m", purpose="test")
    for _ in range(2):
        promote(uri, registered(uri, NAME).version, NAME)
    found = evidenced(config, keys())
    promote(uri, found.version, NAME)
    return found


def check(config: Config, version: Version, signing: SigningConfig | None = None) -> Verification:
    uri = tracking_uri(config)
    return verify_version(uri, models.get(uri, version.name, version.version), signing or keys())


@contextmanager
def changed(config: Config) -> Iterator[None]:
    """Bring the database back afterwards."""
    with (
        closing(sqlite3.connect(Path(config.work) / "mlflow.db")) as live,
        closing(sqlite3.connect(":memory:")) as kept,
    ):
        live.backup(kept)
        yield
        kept.backup(live)


def failed(found: Verification) -> dict[str, str]:
    return {each.name: each.detail for each in found.checks if each.outcome == "failed"}


def test_a_signed_and_approved_version_passes(config: Config, version: Version) -> None:
    found = check(config, version)
    assert failed(found) == {}
    assert found.passed
    listed = manifest.read(artifact(config, version, "signature")).files
    names = [each.name for each in found.checks]
    assert set(listed) < set(names)
    assert {"signature", "registered manifest", "registered weights and record", APPROVAL, "ledger"} < set(names)
    details = {each.name: each.detail for each in found.checks}
    assert (details["ledger"], details["openings"]) == ("3 entries in one chain", "2 entries in one chain")


def test_a_changed_byte_of_a_file_is_named(config: Config, version: Version) -> None:
    listed = manifest.read(artifact(config, version, "signature")).files
    assert len(listed) == 10, "weights, three of the export and its reference, verdict, scores, dossier, data, config"
    for path in listed:
        place = artifact(config, version, path)
        flip(place, place.stat().st_size // 2)
    found = failed(check(config, version))
    assert all("was changed" in found[path] for path in listed)


def test_missing_and_additional_files_are_named(config: Config, version: Version) -> None:
    artifact(config, version, "dossier/dossier.json").rename(artifact(config, version, "report") / "more.json")
    found = failed(check(config, version))
    assert (found["dossier/dossier.json"], found["report/more.json"]) == ("is missing", "is not in the list of files")


def test_another_record_in_the_same_weights_is_named(config: Config, version: Version) -> None:
    """The record is a text at the start of the weights' file: a threshold that was changed leaves the tensors whole."""
    place = artifact(config, version, "weights/model.safetensors")
    content = place.read_bytes()
    assert content.count(b'threshold\\":0.5') == 1
    place.write_bytes(content.replace(b'threshold\\":0.5', b'threshold\\":0.9'))
    found = failed(check(config, version))
    assert "another way than was registered" in found["registered weights and record"]
    assert "weights/model.safetensors" in found


def test_an_unsigned_list_cannot_be_exchanged(config: Config) -> None:
    version = evidenced(config, None)
    assert [each.detail for each in check(config, version, SigningConfig()).checks if each.outcome == "not done"] == [
        "not signed"
    ]
    flip(artifact(config, version, "report/scores.csv"))
    place = artifact(config, version, "signature")
    parts = {part: artifact(config, version, part) for part in manifest.PARTS}
    files = manifest.collect(parts)
    (place / "manifest.json").write_bytes(manifest.read(place).model_copy(update={"files": files}).content())
    found = failed(check(config, version, SigningConfig()))
    assert list(found) == ["registered manifest"]
    assert "another was registered" in found["registered manifest"]


def test_another_key_and_no_list_at_all(config: Config, version: Version) -> None:
    assert "another key" in failed(check(config, version, keys(1)))["signature"]
    shutil.rmtree(artifact(config, version, "signature"))
    found = failed(check(config, version))
    assert found["signature"] == "it has no manifest"
    assert "pneumonia sign" in found["manifest.json"]


# --- the ledgers


def test_a_changed_entry_of_the_ledger_is_named(config: Config, version: Version) -> None:
    uri = tracking_uri(config)
    for key in ("move-000001", "move-000003", "move-000002"):
        with changed(config):
            assert execute(config, ENTRY, "it is better", "it is larger", key) == 1
            assert key in failed(check(config, version))["ledger"]
    execute(config, ENTRY, "it is better", "it is larger", key)
    with pytest.raises(PneumoniaError, match=f"{key}.* The champion in use stays"):
        models.champion(uri, NAME)
    with pytest.raises(PneumoniaError, match="not as it was written"):
        moves.rollback(uri, NAME, "ada", "why", leaving="3")
    shown = call("history", "--set", f"work={config.work}", "--set", f"tracking.uri={uri}")
    assert shown.exit_code == 1
    assert "it is larger" in shown.stdout
    assert key in shown.stderr


REMOVED = {
    "move-000001 is missing": ["DELETE FROM params WHERE key = 'move-000001'"],
    "move-000003 is missing": ["DELETE FROM params WHERE key = 'move-000003'"],
    "move-000002 does not follow move-000001": [
        "UPDATE params SET key = 'move-x' WHERE key = 'move-000002'",
        "UPDATE params SET key = 'move-000002' WHERE key = 'move-000003'",
        "UPDATE params SET key = 'move-000003' WHERE key = 'move-x'",
    ],
}
"""The first entry removed, the last one, and two exchanged."""


def test_removed_and_reordered_entries_are_named(config: Config, version: Version) -> None:
    for words, statements in REMOVED.items():
        with changed(config):
            assert [execute(config, statement) for statement in statements] == [1] * len(statements)
            assert words in failed(check(config, version))["ledger"]


def test_a_chain_that_was_made_anew_is_named_by_the_head_that_was_signed(config: Config, version: Version) -> None:
    """Whoever can write the database can make a consistent chain of other entries; not what was signed before."""
    uri = tracking_uri(config)
    execute(config, "DELETE FROM params WHERE key LIKE 'move-%'")
    execute(config, "UPDATE tags SET value = ? WHERE key = 'chain-head' AND value LIKE '3:%'", "0:" + _title_digest())
    client = mlflow_client(uri)
    client.set_registered_model_tag(NAME, models.APPLIED, "0")
    promote(uri, "3", NAME, why="invented")
    promote(uri, "1", NAME, why="invented")
    assert models.history(uri, NAME), "the chain itself is consistent"
    assert (
        "move-000002 was changed or exchanged since the version was listed" in failed(check(config, version))["ledger"]
    )


def _title_digest() -> str:
    from pneumonia.registry.chain import digest

    return digest(f"champion ledger: {NAME}")


def test_a_changed_opening_is_named_and_nothing_is_opened(config: Config, version: Version) -> None:
    uri = tracking_uri(config)
    for key in ("opening-000001", "opening-000002"):
        with changed(config):
            assert execute(config, ENTRY, '"demo":false', '"demo":true', key) == 1
            assert key in failed(check(config, version))["openings"]
            with pytest.raises(PneumoniaError, match=f"{key}.*is not opened until it is"):
                openings.enter(uri, "rows", weights="c", model="m", purpose="test")


def test_entries_of_an_earlier_release_are_named_and_followed(config: Config) -> None:
    version, uri = evidenced(config, keys()), tracking_uri(config)
    promote(uri, version.version, NAME)
    text = models.history(uri, NAME)[0].model_dump_json(exclude={"previous", "despite"})
    execute(config, "UPDATE params SET value = ? WHERE key = 'move-000001'", text)
    execute(config, "DELETE FROM tags WHERE key = 'chain-head'")
    promote(uri, evidenced(config, keys()).version, NAME)
    found = check(config, version)
    details = {each.name: each.detail for each in found.checks}
    assert found.passed
    assert details["ledger"] == "2 entries, the first 1 of an earlier release, which did not chain them"
    execute(config, ENTRY, "it is better", "it is larger", "move-000001")
    assert "move-000002 does not follow move-000001" in failed(check(config, version))["ledger"]


# --- the verdict


def test_no_approval_over_a_failed_criterion_can_be_written(config: Config) -> None:
    version, uri = evidenced(config, keys(), FAILED), tracking_uri(config)
    for act in (
        lambda: moves.promote(uri, NAME, "1", "ada", "why", against=None),
        lambda: promotion.promote_version(uri, NAME, "1", "ada", "why"),
        lambda: promotion.promote_run(uri, version.run_id, "ada", "why"),
    ):
        with pytest.raises(moves.NotApproved, match=r"has not passed the gate .auroc."):
            act()
    assert models.history(uri, NAME) == []
    for document in (
        FAILED.model_dump() | {"passed": True},
        PASSED.model_dump() | {"passed": False},
    ):
        with pytest.raises(ValueError, match="passed is "):
            Verdict.model_validate(document)
    mlflow_client(uri).set_tag(version.run_id, "verdict", "passed")  # the words alone, on MLflow's page
    with pytest.raises(moves.NotApproved, match="auroc"):
        moves.promote(uri, NAME, "1", "ada", "why", against=None)


def test_an_override_is_one_in_ledger_history_and_verification(config: Config) -> None:
    version, uri = evidenced(config, keys(), FAILED), tracking_uri(config)
    done = promotion.promote_version(uri, NAME, "1", "ada", "hurry", despite=True)
    assert done.move.despite == ("auroc",)
    found = failed(check(config, version))
    assert list(found) == [APPROVAL]
    assert "as an override, despite auroc" in found[APPROVAL]
    shown = call("history", "--set", f"work={config.work}", "--set", f"tracking.uri={uri}")
    assert "OVERRIDE, despite auroc" in shown.stdout


def test_an_approval_that_was_written_behind_the_gates_back_is_named(config: Config) -> None:
    version, uri = evidenced(config, keys(), FAILED), tracking_uri(config)
    promotion.promote_version(uri, NAME, "1", "ada", "hurry", despite=True)
    execute(config, ENTRY, '"despite":["auroc"]', '"despite":[]', "move-000001")
    found = failed(check(config, version))
    assert "although it has failed: auroc" in found[APPROVAL]
    assert "ledger" in found


# --- a folder, and the command


def test_a_part_of_the_files_is_verified_without_a_registry(config: Config, version: Version, tmp_path: Path) -> None:
    place = tmp_path / "dossier" / "registered"
    for part in ("signature", "export", "report"):
        shutil.copytree(artifact(config, version, part), place / part)
    found = verify_bundle(tmp_path / "dossier", keys())
    assert found.passed
    assert {each.name for each in found.checks if each.outcome == "not done"} == {
        "weights/model.safetensors",
        "dossier/dossier.json",
        "config.json",
        "data/manifest.csv",
    }
    flip(place / "report" / "scores.csv")
    assert list(failed(verify_bundle(place, keys()))) == ["report/scores.csv"]
    with pytest.raises(DataError, match=r"has no signature/manifest\.json"):
        verify_bundle(tmp_path, keys())


def test_the_command_prints_a_table_and_ends_with_1(config: Config, version: Version) -> None:
    options = ["--set", f"work={config.work}", "--set", f"tracking.uri={tracking_uri(config)}"]
    options += ["--name", NAME, "--set", f"signing.public_key={keys().public_key}"]
    done = call("verify", "champion", *options)
    assert done.exit_code == 0, done.output
    assert f"models:/{NAME}/3: every check that was done is ok" in done.stdout
    flip(artifact(config, version, "report/scores.csv"))
    done = call("verify", "3", "--json", *options)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert [each["name"] for each in found["checks"] if each["outcome"] == "failed"] == ["report/scores.csv"]
    assert call("verify").exit_code == 2
