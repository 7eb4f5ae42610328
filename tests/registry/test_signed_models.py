"""A version whose signature does not verify is refused by whoever uses it, where the configuration names a key."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.config.service import ServingConfig, SigningConfig
from pneumonia.errors import DataError
from pneumonia.evidence.verify import verify_version
from pneumonia.inference.model_source import find_model
from pneumonia.records.signature import MANIFEST_FILE, SIGNATURE_FILE
from pneumonia.registry import models
from pneumonia.registry.ledger_run import LedgerDamaged
from pneumonia.registry.mirroring import update_mirror
from pneumonia.registry.models import Version
from pneumonia.registry.reader import Reader, open_reader
from pneumonia.registry.signature import SignatureRefused
from pneumonia.registry.signing import sign_version
from pneumonia.serving.follower import Follower
from pneumonia.serving.metrics import Metrics
from pneumonia.tracking.client import mlflow_client, tracking_uri
from tests.support.evidenced import NAME, artifact, evidenced, flip, keys
from tests.support.mlflow_server import Server
from tests.support.registered import promote
from tests.support.runs import settings

pytestmark = pytest.mark.integration


def config_of(work: Path, signing: SigningConfig | None) -> Config:
    chosen = SigningConfig() if signing is None else SigningConfig(public_key=signing.public_key)
    serving = ServingConfig(model=NAME)
    return settings(work).model_copy(update={"signing": chosen, "serving": serving})


def promoted(config: Config, signed: SigningConfig | None, seed: int = 0) -> Version:
    version = evidenced(config, signed, seed=seed)
    promote(tracking_uri(config), version.version, NAME)
    update_mirror(tracking_uri(config), Path(config.work), NAME)
    return version


@pytest.mark.parametrize("source", [None, f"models:/{NAME}/1", "runs:/"])
def test_a_signed_version_is_used_and_an_unsigned_one_is_not(work: Path, source: str | None) -> None:
    config = config_of(work, keys())
    version = promoted(config, None)
    source = f"runs:/{version.run_id}" if source == "runs:/" else source
    assert find_model(source, config_of(work, None)).folder.is_dir(), "nobody demands a signature"
    with pytest.raises(SignatureRefused, match=r": its signature is refused: it is not signed"):
        find_model(source, config)
    uri = tracking_uri(config)
    sign_version(uri, version, keys())
    update_mirror(uri, work, NAME)
    assert find_model(source, config).folder.is_dir()
    with pytest.raises(SignatureRefused, match="with another key than the configured one"):
        find_model(source, config_of(work, keys(1)))


def test_the_mirror_answers_without_mlflow(work: Path) -> None:
    config = config_of(work, keys())
    promoted(config, keys())
    (work / "mlflow.db").unlink()
    shutil.rmtree(work / "artifacts")
    reader = open_reader(config)
    held = reader.champion()
    assert held is not None
    folder = reader.folder(held)
    assert sorted(path.name for path in (folder / "signature").iterdir()) == [MANIFEST_FILE, SIGNATURE_FILE]
    for file in (MANIFEST_FILE, SIGNATURE_FILE):
        whole = (folder / "signature" / file).read_bytes()
        flip(folder / "signature" / file, 10)
        with pytest.raises(SignatureRefused, match=rf"models:/{NAME}/1: its signature is refused"):
            reader.folder(held)
        (folder / "signature" / file).write_bytes(whole)
    assert reader.folder(held) == folder


def test_an_export_that_was_exchanged_with_its_registration_is_refused(work: Path) -> None:
    """Whoever holds registry and store can register another export; the signature is of the first one."""
    config = config_of(work, keys())
    first, second = promoted(config, keys()), evidenced(config, keys(), seed=1)
    reader = open_reader(config)
    held = reader.champion()
    assert held is not None
    folder = reader.folder(held)
    other = find_model(second.uri, config).folder
    for path in other.glob("*.*"):
        shutil.copyfile(path, folder / path.name)
    forged = held.model_copy(update={"export_digest": second.export_digest, "model_digest": second.model_digest})
    folder.rename(folder.with_name(second.export_digest[:16]))
    with pytest.raises(SignatureRefused, match="what was signed is another model"):
        reader.folder(forged)
    assert first.version == "1"


def test_a_service_keeps_the_old_version_and_says_why(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Through MLflow's REST API, as a server without MLflow follows the champion."""
    caplog.set_level(logging.ERROR)
    name = f"signed-{uuid.uuid4().hex}-phantom"
    config = settings(tmp_path, server.url)
    uri, metrics = tracking_uri(config), Metrics()
    public = SigningConfig(public_key=keys().public_key)
    follower = Follower(Reader(uri, tmp_path, [name], public), ServingConfig(threads=1), metrics)
    first = evidenced(config, keys(), name=name)
    promote(uri, first.version, name)
    follower.look()
    assert follower.current is not None, caplog.text
    second = evidenced(config, keys(1), seed=1, name=name)
    promote(uri, second.version, name)
    follower.look()
    assert follower.current.champion.version == "1"
    assert metrics.registry.get_sample_value("pneumonia_model_swap_failures_total") == 1
    assert f"models:/{name}/2: its signature is refused: it was signed with another key" in caplog.text
    assert "version 1 goes on" in caplog.text
    sign_version(uri, second, keys())
    follower._refused = None  # as after the pause
    follower.look()
    assert follower.current.champion.version == "2", caplog.text
    _damage_ledger(server, name)
    promoted_anew = evidenced(config, keys(), name=name)
    with pytest.raises(LedgerDamaged, match="move-000002 does not follow move-000001"):
        promote(uri, promoted_anew.version, name)
    follower.look()
    assert follower.current.champion.version == "2", "what is in use stays while the ledger is damaged"
    assert metrics.registry.get_sample_value("pneumonia_champion_lookup_failures_total") == 1


def _damage_ledger(server: Server, name: str) -> None:
    """Change who promoted the first version, in the server's database."""
    statement = """
        UPDATE params SET value = replace(value, 'ada', 'eve') WHERE key = 'move-000001' AND run_uuid IN
        (SELECT run_uuid FROM runs JOIN experiments USING (experiment_id) WHERE experiments.name = ?)
    """
    with closing(sqlite3.connect(server.folder / "mlflow.db")) as database:
        assert database.execute(statement, (f"champion ledger: {name}",)).rowcount == 1
        database.commit()


def test_without_a_model_the_reason_is_what_ready_says(work: Path) -> None:
    config = config_of(work, keys(1))
    promoted(config, keys())
    follower = Follower(open_reader(config), ServingConfig(threads=1), Metrics())
    follower.look()
    assert follower.current is None
    assert "its signature is refused: it was signed with another key" in follower.why


def test_a_signature_that_is_gone_from_the_run_is_missed(work: Path) -> None:
    config = config_of(work, keys())
    version = promoted(config, keys())
    shutil.rmtree(artifact(config, version, "signature"))
    with pytest.raises(SignatureRefused, match="it has no manifest"):
        find_model(version.uri, config)


def test_another_versions_signed_files_do_not_pass_under_this_number(work: Path) -> None:
    """Everything signed is genuine, and of the first version: its files and registered digests under the second's."""
    config = config_of(work, keys())
    uri, first, second = tracking_uri(config), promoted(config, keys()), evidenced(config, keys(), seed=1)
    for part in ("weights", "export", "report", "dossier", "signature"):
        place = artifact(config, second, part)
        shutil.rmtree(place)
        shutil.copytree(artifact(config, first, part), place)
    for tag in ("weights_digest", "model_digest", "export_digest", "manifest_digest"):
        mlflow_client(uri).set_model_version_tag(NAME, second.version, tag, getattr(first, tag))
    replayed = models.get(uri, NAME, second.version)
    words = rf"models:/{NAME}/2: its signature is refused: what was signed is of another run \({first.run_id}\)"
    with pytest.raises(SignatureRefused, match=words):
        find_model(second.uri, config)
    with pytest.raises(SignatureRefused, match="of another run"):
        find_model(f"runs:/{second.run_id}", config)
    promote(uri, second.version, NAME)
    update_mirror(uri, work, NAME)
    with pytest.raises(SignatureRefused, match="of another run"):
        find_model(None, config)
    found = {each.name for each in verify_version(uri, replayed, config.signing).checks if each.outcome == "failed"}
    assert found == {"listed run"}
    with pytest.raises(DataError, match="its manifest is of another run"):
        sign_version(uri, replayed, keys())
