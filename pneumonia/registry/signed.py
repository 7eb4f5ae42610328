"""Refuse a version whose signature does not verify, where the configuration demands signatures."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pneumonia.config.service import SigningConfig
from pneumonia.errors import DataError
from pneumonia.files import write_bytes
from pneumonia.records.export import EXPORT_FOLDER, EXPORT_RECORD, ExportRecord
from pneumonia.records.signature import MANIFEST_FILE, SIGNATURE_FILE, SIGNATURE_FOLDER, Manifest
from pneumonia.registry import manifest
from pneumonia.registry.signature import SignatureRefused, check_signature, demanded

FILES = (MANIFEST_FILE, SIGNATURE_FILE)


def check_files(
    folder: Path,
    signing: SigningConfig,
    files: Mapping[str, str],
    *,
    name: str,
    run_id: str,
    model_digest: str,
    manifest_digest: str = "",
) -> Manifest:
    """Check the signature in a folder, and that it is of this run, this model and these files.

    Args:
        folder: holds manifest and signature.
        signing: whose signature is demanded.
        files: sha256, in hex, of the files at hand, by their paths in the run.
        name, model_digest: of the model that they are of.
        run_id: of the run that they are of.
        manifest_digest: as it was registered; empty: not registered.

    Raises:
        SignatureRefused: one of these is not so; the message says which, without the version's name.
    """
    check_signature(folder, signing)
    try:
        found = manifest.read(folder)
    except DataError as error:
        raise SignatureRefused(str(error)) from None
    if (found.name, found.model_digest) != (name, model_digest):
        raise SignatureRefused(f"what was signed is another model ({found.name}, {found.model_digest[:12]})")
    if found.run_id != run_id:
        raise SignatureRefused(
            f"what was signed is of another run ({found.run_id})"
            if found.run_id
            else "its manifest is of an earlier release and names no run, so that another version's would pass for it"
        )
    if manifest_digest and manifest.file_digest(folder / MANIFEST_FILE) != manifest_digest:
        raise SignatureRefused("what was signed is another manifest than was registered")
    for path, digest in files.items():
        if found.files.get(path) != digest:
            raise SignatureRefused(
                f"{path} is not the file that was signed" if path in found.files else f"{path} was not signed"
            )
    return found


def check_export(
    folder: Path, signing: SigningConfig, *, name: str, run_id: str, model_digest: str, manifest_digest: str = ""
) -> None:
    """Check the signature beside an exported model whose files were held against its record.

    Raises:
        SignatureRefused: see `check_files`.
    """
    record = ExportRecord.model_validate_json((folder / EXPORT_RECORD).read_text(encoding="utf-8"))
    files = {f"{EXPORT_FOLDER}/{file}": digest for file, digest in record.files.items()}
    files[f"{EXPORT_FOLDER}/{EXPORT_RECORD}"] = manifest.file_digest(folder / EXPORT_RECORD)
    place = folder / SIGNATURE_FOLDER
    check_files(
        place, signing, files, name=name, run_id=run_id, model_digest=model_digest, manifest_digest=manifest_digest
    )


def refused(what: str, error: SignatureRefused) -> SignatureRefused:
    """Return the error with the version's name and the remedy."""
    sign = f"sign it where the private key is (pneumonia sign {what})" if what.startswith("models:") else "register it"
    return SignatureRefused(
        f"{what}: its signature is refused: {error}. Look at it with pneumonia verify; where its files are right, "
        f"{sign}; otherwise restore the run's artifacts from a backup, or choose another version"
    )


def check_weights(
    uri: str, run_id: str, weights: Path, signing: SigningConfig, *, name: str, model_digest: str
) -> None:
    """Check the signature of a run's weights file, where signatures are demanded.

    Raises:
        SignatureRefused: see `check_files`.
        TrackingError: the store cannot be reached.
    """
    if not demanded(signing):
        return
    with tempfile.TemporaryDirectory() as place:
        manifest.fetch(uri, run_id, Path(place), (SIGNATURE_FOLDER,))
        files = {f"weights/{weights.name}": manifest.file_digest(weights)}
        folder = Path(place) / SIGNATURE_FOLDER
        check_files(folder, signing, files, name=name, run_id=run_id, model_digest=model_digest)


def fetch_beside(uri: str, run_id: str, folder: Path) -> None:
    """Bring the signature beside an exported model up to date with its run; without one there, none stays here.

    Raises:
        TrackingError: the store cannot be reached.
    """
    with tempfile.TemporaryDirectory() as place:
        manifest.fetch(uri, run_id, Path(place), (SIGNATURE_FOLDER,))
        put_beside(folder, {name: _content(Path(place) / SIGNATURE_FOLDER / name) for name in FILES})


def put_beside(folder: Path, contents: Mapping[str, bytes | None]) -> None:
    """Write manifest and signature beside an exported model; a file without content is removed."""
    for name, content in contents.items():
        target = folder / SIGNATURE_FOLDER / name
        if content is None:
            target.unlink(missing_ok=True)
        elif _content(target) != content:
            write_bytes(target, content)


def _content(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None
