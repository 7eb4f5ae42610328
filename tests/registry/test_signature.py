"""Keys, manifests and signatures: what is accepted, what is refused, and what the message says."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.config.service import SigningConfig
from pneumonia.errors import ConfigError, DataError, PneumoniaError
from pneumonia.evidence.verify import verify_version
from pneumonia.inference.model_source import find_model
from pneumonia.records.model import WEIGHTS_ARTIFACT, read_record
from pneumonia.records.signature import MANIFEST_FILE, SIGNATURE_FILE, Manifest
from pneumonia.registry import manifest, models, signature, signing
from pneumonia.registry.models import Version
from pneumonia.registry.signature import SignatureRefused, check_signature, make_keys, sign_folder
from pneumonia.registry.signed import check_files
from pneumonia.tracking.client import mlflow_client, tracking_uri
from tests.support.evidenced import NAME, artifact, evidenced, flip, keys, made
from tests.support.runs import settings

pytestmark = pytest.mark.integration  # MLflow's import, if it is the first, starts a process


@pytest.fixture
def config(work: Path) -> Config:
    return settings(work)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A signed folder with a manifest."""
    place = tmp_path / "signature"
    place.mkdir()
    files = manifest.collect({"weights": made() / "weights"})
    record = read_record(made() / WEIGHTS_ARTIFACT)
    found = Manifest(
        name=record.name,
        run_id="a",
        model_digest=record.model_digest(),
        weights_digest=record.weights_digest,
        data_digest=record.data_digest,
        git_commit=None,
        created="2026-01-01T00:00:00+00:00",
        files=files,
    )
    (place / MANIFEST_FILE).write_bytes(found.content())
    sign_folder(place, keys())
    return place


# --- keys


def test_a_key_pair_is_made_once_and_the_private_key_is_its_owners(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path / "keys")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "PRIVATE" not in public.read_text()
    before = private.read_bytes()
    with pytest.raises(ConfigError, match="is not overwritten"):
        make_keys(tmp_path / "keys")
    assert private.read_bytes() == before


def test_a_password_closes_the_key(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signature.PASSWORD, "open sesame")
    private, public = make_keys(tmp_path / "keys")
    assert "ENCRYPTED" in private.read_text()
    signed = SigningConfig(private_key=str(private), public_key=str(public))
    sign_folder(folder, signed)
    check_signature(folder, signed)
    for password, words in (("", "its password is not set"), ("wrong", "cannot be used")):
        monkeypatch.setenv(signature.PASSWORD, password)
        with pytest.raises(ConfigError, match=words):
            sign_folder(folder, signed)
    monkeypatch.setenv(signature.PASSWORD, "needless")
    with pytest.raises(ConfigError, match="is not encrypted, but a password is set"):
        sign_folder(folder, keys())


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_a_key_that_is_none_is_named(folder: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    for act, setting in ((sign_folder, "private_key"), (check_signature, "public_key")):
        with pytest.raises(ConfigError, match=rf"signing\.{setting}={path}"):
            act(folder, SigningConfig(**{setting: str(path)}))


# --- the signature


def test_a_signature_holds_wherever_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    check_signature(folder, keys())
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "signature")
    check_signature(moved, keys())


def test_the_libraries_own_command_verifies_it(folder: Path) -> None:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    options = ["--signature", str(folder / SIGNATURE_FILE), "--public_key", keys().public_key]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", [MANIFEST_FILE, SIGNATURE_FILE])
def test_every_changed_byte_is_refused(folder: Path, file: str) -> None:
    whole = (folder / file).read_bytes()
    for at in range(0, len(whole), 37):
        flip(folder / file, at)
        with pytest.raises(SignatureRefused):
            check_signature(folder, keys())
        (folder / file).write_bytes(whole)
    check_signature(folder, keys())


def test_another_key_a_missing_file_and_a_file_too_many_are_refused(folder: Path) -> None:
    with pytest.raises(SignatureRefused, match="with another key than the configured one"):
        check_signature(folder, keys(1))
    (folder / "more.txt").write_text("x")
    with pytest.raises(SignatureRefused, match="not the one that was signed"):
        check_signature(folder, keys())
    (folder / "more.txt").unlink()
    (folder / SIGNATURE_FILE).unlink()
    with pytest.raises(SignatureRefused, match="it is not signed"):
        check_signature(folder, keys())
    (folder / MANIFEST_FILE).unlink()
    with pytest.raises(SignatureRefused, match="it has no manifest"):
        check_signature(folder, keys())


def test_the_signature_of_another_model_or_file_is_refused(folder: Path) -> None:
    found = manifest.read(folder)
    names = {"name": found.name, "run_id": "a", "model_digest": found.model_digest}
    check_files(folder, keys(), found.files, **names)
    for changed, words in (
        ({"name": "another"}, "another model"),
        ({"model_digest": "0" * 64}, "another model"),
        ({"run_id": "b"}, r"of another run \(a\)"),
        ({"manifest_digest": "0" * 64}, "another manifest than was registered"),
    ):
        with pytest.raises(SignatureRefused, match=words):
            check_files(folder, keys(), found.files, **(names | changed))
    with pytest.raises(SignatureRefused, match=f"{WEIGHTS_ARTIFACT} is not the file that was signed"):
        check_files(folder, keys(), {WEIGHTS_ARTIFACT: "0" * 64}, **names)
    with pytest.raises(SignatureRefused, match=r"export/x was not signed"):
        check_files(folder, keys(), {"export/x": "0" * 64}, **names)


def test_without_the_library_the_message_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(PneumoniaError, match=r"model-signing.* pip install 'pneumonia\[serving\]'"):
        check_signature(folder, keys())


def test_sigstore_needs_a_name(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"signing\.identity and signing\.issuer"):
        check_signature(folder, SigningConfig(sigstore=True))


# --- the manifest of a run


def test_a_version_is_listed_and_signed_once(config: Config) -> None:
    version = evidenced(config, keys())
    found = manifest.read(artifact(config, version, "signature"))
    wanted = {path.relative_to(made()).as_posix() for path in made().rglob("*") if path.is_file()}
    assert set(found.files) == wanted | {"report/verdict.json"}
    assert (
        version.manifest_digest
        == found.digest()
        == manifest.file_digest(artifact(config, version, f"signature/{MANIFEST_FILE}"))
    )
    uri = tracking_uri(config)
    before = {path.name: path.read_bytes() for path in artifact(config, version, "signature").iterdir()}
    parts = {"weights": made() / "weights", "report": made() / "report"}  # others, as a later validation leaves them
    again = signing.sign_run(uri, version.run_id, parts, read_record(made() / WEIGHTS_ARTIFACT), keys())
    assert again.manifest == found
    assert {path.name: path.read_bytes() for path in artifact(config, version, "signature").iterdir()} == before
    shutil.rmtree(made() / "signature")


def test_a_version_is_signed_by_hand_with_its_own_list(config: Config) -> None:
    version, uri = evidenced(config, None), tracking_uri(config)
    done = signing.sign_version(uri, version, keys())
    assert done.digest == version.manifest_digest
    check_signature(artifact(config, version, "signature"), keys())
    flip(artifact(config, version, "report/scores.csv"))
    with pytest.raises(DataError, match=r"not signed, .*report/scores\.csv"):
        signing.sign_version(uri, version, keys())
    with pytest.raises(ConfigError, match=r"signing\.private_key"):
        signing.sign_version(uri, version, SigningConfig())


def test_a_version_of_an_earlier_release_gets_its_list(config: Config) -> None:
    version, uri = evidenced(config, None, listed=False), tracking_uri(config)
    assert version.manifest_digest == ""
    done = signing.sign_version(uri, version, keys())
    assert models.get(uri, NAME, "1").manifest_digest == done.digest
    assert json.loads(artifact(config, version, "signature/manifest.json").read_text())["files"] == done.manifest.files


def test_another_list_in_the_run_is_not_signed(config: Config) -> None:
    version, uri = evidenced(config, None), tracking_uri(config)
    path = artifact(config, version, "signature/manifest.json")
    path.write_bytes(manifest.read(path.parent).model_copy(update={"data_digest": "x"}).content())
    with pytest.raises(PneumoniaError, match="another than was registered"):
        signing.sign_version(uri, version, keys())
    assert mlflow_client(uri).get_run(version.run_id).data.tags[models.MANIFEST] == version.manifest_digest


def of_earlier_release(config: Config, version: Version) -> Version:
    """Give a version the signed list of an earlier release: without the run, and without the inputs."""
    uri, place = tracking_uri(config), artifact(config, version, "signature")
    found = manifest.read(place)
    files = {path: digest for path, digest in found.files.items() if path.partition("/")[0] in manifest.FOLDERS}
    (place / MANIFEST_FILE).write_bytes(found.model_copy(update={"run_id": "", "files": files}).content())
    assert b"run_id" not in (place / MANIFEST_FILE).read_bytes(), "as an earlier release wrote it"
    (place / SIGNATURE_FILE).unlink()
    sign_folder(place, keys())
    digest = manifest.file_digest(place / MANIFEST_FILE)
    assert manifest.read(place).digest() == digest, "its bytes stay"
    mlflow_client(uri).set_model_version_tag(NAME, version.version, models.MANIFEST, digest)
    mlflow_client(uri).set_tag(version.run_id, models.MANIFEST, digest)
    return models.get(uri, NAME, version.version)


def test_the_list_of_an_earlier_release_is_read_and_not_accepted_until_it_is_signed_anew(config: Config) -> None:
    uri, private = tracking_uri(config), keys()
    version = of_earlier_release(config, evidenced(config, private))
    assert verify_version(uri, version, SigningConfig()).passed
    found = {each.name: each for each in verify_version(uri, version, private).checks if each.outcome == "failed"}
    assert list(found) == ["listed run"]
    demanding = config.model_copy(update={"signing": SigningConfig(public_key=private.public_key)})
    with pytest.raises(SignatureRefused, match=r"of an earlier release and names no run.*pneumonia sign"):
        find_model(version.uri, demanding)
    done = signing.sign_version(uri, version, private)
    assert (done.manifest.run_id, {"config.json", "data/manifest.csv"} - set(done.manifest.files)) == (
        version.run_id,
        set(),
    )
    version = models.get(uri, NAME, version.version)
    assert version.manifest_digest == done.digest
    assert verify_version(uri, version, private).passed
    assert find_model(version.uri, demanding).folder.is_dir()
