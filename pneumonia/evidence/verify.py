"""Check a registered version: signature, digests, record, verdict against approval, and the ledgers' chains.

Each check is a row of a table and none ends the others, so that everything that is wrong is named at once.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from pneumonia.config.service import SigningConfig
from pneumonia.errors import DataError, PneumoniaError
from pneumonia.records.evaluation import Verdict
from pneumonia.records.export import EXPORT_FOLDER
from pneumonia.records.model import WEIGHTS_ARTIFACT, read_record
from pneumonia.records.signature import MANIFEST_FILE, SIGNATURE_FILE, SIGNATURE_FOLDER, ListHead, Manifest
from pneumonia.records.verification import Check, Verification
from pneumonia.registry import ledger_run, manifest, models, openings, verdicts, verified
from pneumonia.registry.ledger import Move, standing
from pneumonia.registry.mirror import read_export
from pneumonia.registry.signature import SignatureRefused, check_signature, demanded

EARLIER_OVERRIDE = "[despite the "
"""In the reason of a move of an earlier release, which had no field for what it overrules."""


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
        checks += _record(uri, version, folder, found)
        checks.append(_approval(uri, version, folder))
        checks += _ledgers(uri, version.name, found)
    return Verification.of(version.uri, checks)


def verify_bundle(folder: Path, signing: SigningConfig) -> Verification:
    """Check a folder with the files of a version, without a registry: those that it holds, and their signature.

    Args:
        folder: holds ``signature`` and any of the files in its list; or a folder ``registered`` with these.
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
    checks, _ = check_folder(place, signing, whole=False)
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
        if path.partition("/")[0] in manifest.PARTS:
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
        words = f"was changed: it has the digest {found[:12]}, and {digest[:12]} was listed"
        return Check(name=path, outcome="failed", detail=words)
    return Check(name=path, outcome="ok", detail=digest[:12])


def _registered(version: models.Version, folder: Path, found: Manifest | None) -> list[Check]:
    """Hold the list of files against what was registered."""
    if found is None:
        return []
    name, digest = "registered manifest", manifest.file_digest(folder / SIGNATURE_FOLDER / MANIFEST_FILE)
    if not version.manifest_digest:
        return [Check(name=name, outcome="failed", detail="its digest was not registered with the version")]
    if version.manifest_digest != digest:
        words = f"another was registered ({version.manifest_digest[:12]}; this one is {digest[:12]})"
        return [Check(name=name, outcome="failed", detail=words)]
    return [Check(name=name, outcome="ok", detail=digest[:12])]


def _record(uri: str, version: models.Version, folder: Path, found: Manifest | None) -> list[Check]:
    """Hold weights, record and export against the tags of the version and against the list of files."""
    path = folder / WEIGHTS_ARTIFACT

    def weights() -> str:
        record = read_record(path)
        verified.check_registered(version, record)
        if (digest := verified.weights_digest(path)) != record.weights_digest:
            raise DataError(
                f"the weights have the digest {digest[:12]}, and by their record {record.weights_digest[:12]}"
            )
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


def _approval(uri: str, version: models.Version, folder: Path) -> Check:
    """Check that no failed criterion carries an approval: the verdict against the version's last promotion."""
    name = "verdict against approval"
    try:
        failed = _failed_by_verdict(folder)
    except DataError as error:
        return Check(name=name, outcome="failed", detail=str(error))
    moves = models.examine_ledger(uri, version.name).moves
    promotions = [move for move in moves if (move.action, move.to_version) == ("promote", version.version)]
    if not promotions:
        words = f"not promoted; its verdict has failed: {', '.join(failed)}" if failed else "not promoted"
        return Check(name=name, outcome="ok", detail=words)
    move = promotions[-1]
    who = f"promoted by {move.who} at {move.when[:19]} UTC"
    if overruled := _overruled(move):
        return Check(name=name, outcome="failed", detail=f"{who} as an override, despite {overruled}")
    if last := verdicts.failed_criteria(uri, version.run_id):
        return Check(name=name, outcome="failed", detail=f"{who} although it has failed: {', '.join(last)}")
    later = "by a later validation, which is not in the list of files; " if failed else ""
    back = standing(moves).withdrawn.get(version.version)
    since = "" if back is None else f"; withdrawn since by {back.who}: {back.why}"
    return Check(name=name, outcome="ok", detail=f"{later}{who}; every criterion has passed{since}")


def _overruled(move: Move) -> str:
    """Return what a promotion overrules, in words; empty where it overrules nothing."""
    _, found, words = move.why.rpartition(EARLIER_OVERRIDE)
    return ", ".join(move.despite) or (words.rstrip("]") if found else "")


def _failed_by_verdict(folder: Path) -> tuple[str, ...]:
    """Return the criteria that the listed verdict has failed; of a version without a verdict none is known.

    Raises:
        DataError: the verdict contradicts its own reasons, or cannot be read.
    """
    path = folder / verdicts.VERDICT
    if not path.is_file():
        return ()
    try:
        found: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
        Verdict.model_validate(found)
    except ValidationError as error:
        words = "; ".join(each["msg"] for each in error.errors()[:3])
        raise DataError(f"{verdicts.VERDICT}: {words}") from None
    except ValueError:
        raise DataError(f"{verdicts.VERDICT}: cannot be read") from None
    return verdicts.failed_of(found)


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
