"""List the files of a run, sign the list, and keep both with the run; a registered version's list does not change."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from pneumonia.config.service import SigningConfig
from pneumonia.errors import ConfigError, DataError, PneumoniaError
from pneumonia.files import write_bytes
from pneumonia.progress import Progress, silent
from pneumonia.records.model import WEIGHTS_ARTIFACT, ModelRecord, read_record
from pneumonia.records.signature import MANIFEST_FILE, SIGNATURE_FILE, SIGNATURE_FOLDER, Manifest, SignedManifest
from pneumonia.registry import manifest, models, registration, verified
from pneumonia.registry.models import MANIFEST
from pneumonia.registry.signature import can_sign, sign_folder
from pneumonia.timing import timed
from pneumonia.tracking.run import Run


@timed("digests of the version's files")
def sign_run(
    uri: str,
    run_id: str,
    folders: Mapping[str, Path],
    record: ModelRecord,
    signing: SigningConfig,
    progress: Progress = silent,
) -> SignedManifest:
    """List the files that a run was given, sign the list where a key is configured, and log both to the run.

    Called again with the same files, it keeps list and signature. Those of a registered version stay whatever the
    files are by then; a signature is added where there was none.

    Args:
        uri, run_id: the run.
        folders: local folders (or the weights' file) by the artifact folder that they were logged under; list and
            signature are also written beside them, into ``signature``.
        record: of the model.
        signing: the configuration's section.
        progress: called with the share that is done.

    Raises:
        ConfigError: the private key cannot be used.
        PneumoniaError: a file is missing, or sigstore has failed.
        TrackingError: the store cannot be reached.
    """
    place = next(iter(folders.values())).parent / SIGNATURE_FOLDER
    run = Run.attach(uri, run_id)
    try:
        progress(0.0, 1.0, "listing the files of the version")
        held = run.tag(MANIFEST)
        if run.is_registered():
            found = _of_registered(uri, run_id, place, record, held)
        else:
            found = _of_folders(uri, run_id, folders, place, record, held)
        if can_sign(signing) and not (place / SIGNATURE_FILE).exists():
            progress(0.5, 1.0, "signing the list of files")
            sign_folder(place, signing)
        run.log_folder(place, SIGNATURE_FOLDER)
        run.set_tags({MANIFEST: found.digest()})
    finally:
        run.release()
    signed = (place / SIGNATURE_FILE).exists()
    progress(1.0, 1.0, "signed" if signed else "listed by digest; not signed, because no key is configured")
    return SignedManifest(manifest=found, digest=found.digest(), signed=signed, folder=str(place))


def sign_version(uri: str, version: models.Version, signing: SigningConfig) -> SignedManifest:
    """Sign a registered version anew: its list of files, which is made where there was none, once every file fits it.

    Raises:
        ConfigError: no private key is configured, or it cannot be used.
        DataError: a file is not the one in the list.
        PneumoniaError: the model is not the one that was registered.
        TrackingError: the store cannot be reached.
    """
    if not can_sign(signing):
        raise ConfigError("signing.private_key: names no key to sign with; make one: pneumonia keys --out DIR")
    with tempfile.TemporaryDirectory() as folder:
        there = manifest.fetch(uri, version.run_id, Path(folder))
        record = read_record(Path(folder) / WEIGHTS_ARTIFACT)
        verified.check_registered(version, record)
        place = Path(folder) / SIGNATURE_FOLDER
        files = manifest.collect({part: Path(folder) / part for part in manifest.PARTS if part in there})
        if SIGNATURE_FOLDER in there:
            found = _held(place, version.manifest_digest)
            _check(version, found, files)
            if not found.run_id:  # of an earlier release: the same list, of its run, with the inputs
                found = found.model_copy(update={"run_id": version.run_id, "files": files})
                write_bytes(place / MANIFEST_FILE, found.content())
        elif version.manifest_digest:
            raise DataError(f"{version.uri}: its manifest is gone from the run; restore the artifact from a backup")
        else:
            found = manifest.compose(uri, version.run_id, record, files)
            write_bytes(place / MANIFEST_FILE, found.content())
        (place / SIGNATURE_FILE).unlink(missing_ok=True)
        sign_folder(place, signing)
        _log(uri, version, place, found)
        return SignedManifest(manifest=found, digest=found.digest(), signed=True, folder=SIGNATURE_FOLDER)


def _check(version: models.Version, found: Manifest, files: Mapping[str, str]) -> None:
    if found.run_id not in ("", version.run_id):
        raise DataError(
            f"{version.uri}: not signed, because its manifest is of another run ({found.run_id}); restore the run's "
            "artifacts from a backup"
        )
    wanted = {path: digest for path, digest in files.items() if path.partition("/")[0] in manifest.parts(found)}
    differing = sorted(path for path in {*wanted, *found.files} if wanted.get(path) != found.files.get(path))
    if differing:
        raise DataError(
            f"{version.uri}: not signed, because these files are not the ones in its manifest: {', '.join(differing)}; "
            "restore the run's artifacts from a backup"
        )


def _log(uri: str, version: models.Version, place: Path, found: Manifest) -> None:
    run = Run.attach(uri, version.run_id)
    try:
        run.log_folder(place, SIGNATURE_FOLDER)
        run.set_tags({MANIFEST: found.digest()})
    finally:
        run.release()
    registration.register_manifest(uri, version, found.digest(), upgraded=True)


def _of_folders(
    uri: str, run_id: str, folders: Mapping[str, Path], place: Path, record: ModelRecord, held: str | None
) -> Manifest:
    """Return the list of a run that no version refers to: the one that is there, where the files are still those."""
    with tempfile.TemporaryDirectory() as inputs:
        # as the run has them: a training that is used again was given them in another folder
        there = manifest.fetch(uri, run_id, Path(inputs), manifest.INPUTS)
        files = manifest.collect({**folders, **{part: Path(inputs) / part for part in there}})
    if held is not None and (place / MANIFEST_FILE).exists():
        found = manifest.read(place)
        if (found.digest(), found.files, found.model_digest) == (held, files, record.model_digest()):
            return found
    found = manifest.compose(uri, run_id, record, files)
    write_bytes(place / MANIFEST_FILE, found.content())
    (place / SIGNATURE_FILE).unlink(missing_ok=True)
    return found


def _of_registered(uri: str, run_id: str, place: Path, record: ModelRecord, held: str | None) -> Manifest:
    """Return the list of a registered version: the one that it has, otherwise one of the files that its run holds."""
    with tempfile.TemporaryDirectory() as folder:
        there = manifest.fetch(uri, run_id, Path(folder))
        if SIGNATURE_FOLDER in there:
            found = _held(Path(folder) / SIGNATURE_FOLDER, held or "")
            for path in (Path(folder) / SIGNATURE_FOLDER).iterdir():
                write_bytes(place / path.name, path.read_bytes())
            return found
        files = manifest.collect({part: Path(folder) / part for part in manifest.PARTS if part in there})
    if held is not None:
        raise DataError(f"run {run_id}: its manifest is gone; restore the artifact {SIGNATURE_FOLDER} from a backup")
    found = manifest.compose(uri, run_id, record, files)
    write_bytes(place / MANIFEST_FILE, found.content())
    (place / SIGNATURE_FILE).unlink(missing_ok=True)
    return found


def _held(place: Path, digest: str) -> Manifest:
    found = manifest.read(place)
    if digest and manifest.file_digest(place / MANIFEST_FILE) != digest:
        raise PneumoniaError(
            f"{found.name}: its manifest is another than was registered ({digest[:12]}); restore the run's artifact "
            f"{SIGNATURE_FOLDER} from a backup"
        )
    return found
