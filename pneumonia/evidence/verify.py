"""Check a registered version: signature, digests, record, verdict against approval, and the ledgers' chains.

Each check is a row of a table and none ends the others, so that everything that is wrong is named at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from pneumonia.config.service import SigningConfig
from pneumonia.errors import DataError, PneumoniaError
from pneumonia.evidence import approval
from pneumonia.records.export import EXPORT_FOLDER
from pneumonia.records.model import WEIGHTS_ARTIFACT, read_record
from pneumonia.records.signature import MANIFEST_FILE, SIGNATURE_FILE, SIGNATURE_FOLDER, ListHead, Manifest
from pneumonia.records.verification import Check, Verification
from pneumonia.registry import ledger_run, manifest, models, openings, verified
from pneumonia.registry.mirror import read_export
from pneumonia.registry.signature import SignatureRefused, check_signature, demanded

DIGITS = 12
"""Of a digest, in a message."""


def verify_version(uri: str, version: models.Version, signing: SigningConfig) -> Verification:
    """Check a registered version; its files are downloaded for it, and deleted at the end.

    Raises:
        ConfigError: the public key cannot be used.
        TrackingError: the store cannot be reached.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        manifest.fetch(uri, version.run_id, folder)
        checks, found = check_folder(folder, signing, whole=True)
        checks += _registered(version, folder, found)
        checks += _run(uri, version, signing, found)
        checks += _record(uri, version, folder, found)
        checks += approval.checks(uri, version, folder)
        checks += _ledgers(uri, version.name, found)
    return Verification.of(version.uri, checks)


def verify_bundle(folder: Path, signing: SigningConfig) -> Verification:
    """Check a folder with the files of a version, without a registry: those that it holds, and their signature.

    A folder that lacks most of the listed files has failed: little of the version was looked at.

    Args:
        folder: holds ``signature`` and most of the files in its list; or a folder ``registered`` with these.
        signing: names the public key.

    Raises:
        ConfigError: the public key cannot be used.
        DataError: there is no list of files.
    """
    inner = folder / "registered"
    place = inner if (inner / SIGNATURE_FOLDER).is_dir() else folder
    if not (place / SIGNATURE_FOLDER / MANIFEST_FILE).is_file():
        raise DataError(
            f"{place}: has no {SIGNATURE_FOLDER}/{MANIFEST_FILE} to be verified against; write the version's files "
            "with pneumonia dossier VERSION --out DIR"
        )
    checks, found = check_folder(place, signing, whole=False)
    if found is not None:
        checks.append(_at_hand(checks, found))
    return Verification.of(str(folder), checks)


def check_folder(folder: Path, signing: SigningConfig, *, whole: bool) -> tuple[list[Check], Manifest | None]:
    """Check the signature in a folder, and the files beside it against the list that was signed.

    Args:
        folder: holds the files by their paths in the run.
        signing: names the public key.
        whole: a file that is missing has failed; otherwise it is not at hand.
    """
    signature = folder / SIGNATURE_FOLDER
    checks = [_signature(signature, signing)]
    try:
        found = manifest.read(signature)
    except DataError:
        there = (signature / MANIFEST_FILE).exists()
        words = (
            "cannot be read" if there else "there is none: no digest of the files was kept; pneumonia sign makes one"
        )
        return [*checks, Check(name=MANIFEST_FILE, outcome="failed", detail=words)], None
    present = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and signature not in path.parents
    }
    for path, digest in sorted(found.files.items()):
        checks.append(_file(path, digest, present.get(path), whole=whole))
    for path in present.keys() - found.files.keys():
        if path.partition("/")[0] in manifest.parts(found):
            checks.append(Check(name=path, outcome="failed", detail="is not in the list of files"))
    return checks, found


def _signature(folder: Path, signing: SigningConfig) -> Check:
    signed = (folder / SIGNATURE_FILE).is_file()
    if not demanded(signing):
        words = "signed, but no public key is configured (signing.public_key)" if signed else "not signed"
        return Check(name="signature", outcome="not done", detail=words)
    try:
        check_signature(folder, signing)
    except SignatureRefused as error:
        return Check(name="signature", outcome="failed", detail=str(error))
    whom = signing.identity if signing.sigstore else signing.public_key
    return Check(name="signature", outcome="ok", detail=f"verified with {whom}")


def _file(path: str, digest: str, place: Path | None, *, whole: bool) -> Check:
    if place is None:
        return Check(name=path, outcome="failed" if whole else "not done", detail="is missing" if whole else "not here")
    found = manifest.file_digest(place)
    if found != digest:
        here, listed = _two(found, digest)
        return Check(
            name=path, outcome="failed", detail=f"was changed: it has the digest {here}, and {listed} was listed"
        )
    return Check(name=path, outcome="ok", detail=digest[:12])


def _at_hand(checks: list[Check], found: Manifest) -> Check:
    """Fail where most of the listed files are not there, since hardly anything was then held against the list."""
    missing = sum(check.outcome == "not done" and check.name in found.files for check in checks)
    words = f"{missing} of {len(found.files)} listed files are not here"
    return Check(name="files at hand", outcome="failed" if 2 * missing > len(found.files) else "ok", detail=words)


def _two(one: str, other: str) -> tuple[str, str]:
    """Return the first digits of two digests: as many as show that they differ."""
    same = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    digits = max(DIGITS, same + 4)
    return one[:digits], other[:digits]


def _registered(version: models.Version, folder: Path, found: Manifest | None) -> list[Check]:
    """Hold the list of files against what was registered."""
    if found is None:
        return []
    name, digest = "registered manifest", manifest.file_digest(folder / SIGNATURE_FOLDER / MANIFEST_FILE)
    if not version.manifest_digest:
        return [Check(name=name, outcome="failed", detail="its digest was not registered with the version")]
    if version.manifest_digest != digest:
        wanted, here = _two(version.manifest_digest, digest)
        words = f"another was registered ({wanted}; this one is {here})"
        return [Check(name=name, outcome="failed", detail=words)]
    return [Check(name=name, outcome="ok", detail=digest[:12])]


def _run(uri: str, version: models.Version, signing: SigningConfig, found: Manifest | None) -> list[Check]:
    """Hold the run that the list is of against the version's: a list that was copied from another version fits it."""
    if found is None:
        return []
    name = "listed run"
    if not found.run_id:
        words = "the list is of an earlier release and names no run; pneumonia sign makes one that does"
        return [Check(name=name, outcome="failed" if demanded(signing) else "not done", detail=words)]
    if found.run_id != version.run_id:
        words = f"the list is of the run {found.run_id}, and the version of {version.run_id or 'none'}"
        return [Check(name=name, outcome="failed", detail=words)]
    known = models.versions(uri, version.name)
    if others := [each for each in known if each.run_id == version.run_id and each.version != version.version]:
        words = f"the run {found.run_id} is also the one of {models.listed(others)}: each version has a run of its own"
        return [Check(name=name, outcome="failed", detail=words)]
    return [Check(name=name, outcome="ok", detail=found.run_id)]


def _record(uri: str, version: models.Version, folder: Path, found: Manifest | None) -> list[Check]:
    """Hold weights, record and export against the tags of the version and against the list of files."""
    path = folder / WEIGHTS_ARTIFACT

    def weights() -> str:
        record = read_record(path)
        verified.check_registered(version, record)
        if (digest := verified.weights_digest(path)) != record.weights_digest:
            here, recorded = _two(digest, record.weights_digest)
            raise DataError(f"the weights have the digest {here}, and by their record {recorded}")
        return f"weights {record.weights_digest[:12]}, model {record.model_digest()[:12]}"

    def identity() -> str:
        record, tags = read_record(path), models.tags(uri, version)
        signed = (found.name, found.model_digest, found.weights_digest, found.data_digest) if found else None
        if signed not in (None, (record.name, record.model_digest(), record.weights_digest, record.data_digest)):
            raise DataError("the list of files is of another model or data version than the record")
        if tags.get("data_digest", record.data_digest) != record.data_digest:
            raise DataError(
                f"registered with the data version {tags['data_digest'][:12]}, not {record.data_digest[:12]}"
            )
        return f"data version {record.data_digest[:12]}"

    def export() -> str:
        return f"export {read_export(folder / EXPORT_FOLDER, version.export_digest).digest()[:12]}"

    checks = [_attempt("registered weights and record", weights), _attempt("registered data version", identity)]
    if not version.export_digest:
        return [*checks, Check(name="registered export", outcome="not done", detail="the version has no export")]
    return [*checks, _attempt("registered export and reference", export)]


def _attempt(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name=name, outcome="ok", detail=check())
    except PneumoniaError as error:
        return Check(name=name, outcome="failed", detail=str(error))


def _ledgers(uri: str, name: str, found: Manifest | None) -> list[Check]:
    """Check the chains of the ledger and of the register of openings, and the heads of both that were signed."""
    ledger, register = models.examine_ledger(uri, name), openings.examine(uri)
    return [
        _chain(
            "ledger",
            ledger.problems,
            ledger.unchained,
            ledger.head,
            found.ledger if found else None,
            lambda head: ledger_run.compare(name, ledger, head),
        ),
        _chain(
            "openings",
            register.problems,
            register.unchained,
            register.head,
            found.openings if found else None,
            lambda head: openings.compare(register, head),
        ),
    ]


def _chain(
    name: str,
    problems: list[str],
    unchained: int,
    head: ListHead | None,
    signed: ListHead | None,
    compare: Callable[[ListHead], list[str]],
) -> Check:
    since = [f"{each} since the version was listed" for each in compare(signed)] if signed is not None else []
    if problems or since:
        return Check(name=name, outcome="failed", detail="; ".join(dict.fromkeys([*problems, *since])))
    if head is None:
        return Check(name=name, outcome="ok", detail="no entry")
    words = f"{head.entries} entries in one chain"
    if unchained:
        words = f"{head.entries} entries, the first {unchained} of an earlier release, which did not chain them"
    return Check(name=name, outcome="ok", detail=words)
