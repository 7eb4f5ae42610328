"""Keep the champion's exported files in the work folder, where a server finds them without a registry.

``champions/<name>/champion.json`` names the champion, and ``champions/<name>/<export digest>`` holds its files. A move
of the champion writes the files first and then the document, atomically; what is read is verified against the digests
in it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, ValidationError

from pneumonia.errors import DataError
from pneumonia.files import atomic_folder, write_text
from pneumonia.records.base import Document
from pneumonia.records.evaluation import Metric, OutsideMetrics
from pneumonia.records.export import EXPORT_RECORD, FILES, MODEL_RECORD, ExportRecord, read_model_record
from pneumonia.registry.ledger import Move

FOLDER, DOCUMENT = "champions", "champion.json"
KEPT = 3
"""Versions whose files stay in the mirror: the champion and the ones that it may be rolled back to."""


class Champion(Document):
    """The champion of a registered name, with what its card says.

    Attributes:
        name, version, run_id: in the registry.
        phantom: trained on phantoms.
        model_digest: of the weights and how they are used.
        export_digest: of the exported model's record; empty where the version has no export.
        manifest_digest: of the list of the version's files; empty where it was not registered.
        metrics: with intervals, of the images in `measured_on`.
        outside: on images of other places.
        move: the last one of the ledger.
        previous: the version that a rollback would bring back.
    """

    name: str
    version: str
    run_id: str
    phantom: bool
    model_digest: str
    export_digest: str
    manifest_digest: str = ""
    metrics: dict[str, Metric] = Field(default_factory=dict)
    measured_on: str = ""
    outside: tuple[OutsideMetrics, ...] = ()
    move: Move | None = None
    previous: str | None = None


def read_export(folder: Path, digest: str | None = None) -> ExportRecord:
    """Verify the files of an exported model and return its record.

    Args:
        folder: of `pneumonia.inference.exporting`.
        digest: of the record, as it was registered; None: not checked.

    Raises:
        DataError: a file is missing, damaged, or another than was registered.
    """
    place = folder / EXPORT_RECORD
    try:
        found = ExportRecord.model_validate_json(place.read_text(encoding="utf-8"))
        for name, wanted in found.files.items():
            if name not in FILES:
                raise DataError(f"{place}: names {name!r}, which is no file of an exported model; export it again")
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != wanted:
                raise DataError(
                    f"{folder / name}: does not have the digest in {EXPORT_RECORD}; fetch or export it again"
                )
        record = read_model_record(folder)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); fetch or export it again") from None
    except (ValidationError, ValueError):
        raise DataError(f"{place}: is no record of an exported model; fetch or export it again") from None
    if found.model_digest != record.model_digest():
        raise DataError(f"{folder / MODEL_RECORD}: is not of the model in {EXPORT_RECORD}; export it again")
    if digest is not None and found.digest() != digest:
        raise DataError(
            f"{place}: another export than was registered ({found.digest()[:12]}, registered {digest[:12]}); "
            "restore the run's artifacts from a backup, or choose another version"
        )
    return found


class Mirror:
    """The mirror of one registered name."""

    def __init__(self, work: Path, name: str) -> None:
        self.place = work / FOLDER / name

    def champion(self) -> Champion | None:
        """Return the champion that was written last; None where there was none.

        Raises:
            DataError: the document is damaged.
        """
        path = self.place / DOCUMENT
        try:
            return Champion.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); make it readable") from None
        except ValueError:
            raise DataError(f"{path}: is damaged; remove it, then promote or start again") from None

    def folder(self, champion: Champion, fetch: Callable[[Path], None]) -> Path:
        """Return the verified files of a champion, fetched where they are not there or damaged.

        Args:
            champion: whose files are wanted.
            fetch: writes them into an empty folder.

        Raises:
            DataError: they are damaged, or others than were registered.
        """
        target = self.place / champion.export_digest[:16]
        if target.exists():
            try:
                _check(target, champion)
            except DataError:
                shutil.rmtree(target)  # damaged on this disk: fetched again
            else:
                return target
        with atomic_folder(target) as place:
            fetch(place)
            _check(place, champion)
        return target

    def write(self, champion: Champion) -> None:
        """Name the champion, whose files are there already, and remove the files of older ones."""
        write_text(self.place / DOCUMENT, champion.model_dump_json(indent=2))
        kept = {champion.export_digest[:16]}
        others = [each for each in self.place.iterdir() if each.is_dir() and each.name not in kept]
        for old in sorted(others, key=lambda each: each.stat().st_mtime)[: -(KEPT - 1)]:
            if not old.name.startswith("."):
                shutil.rmtree(old, ignore_errors=True)

    def remove(self) -> None:
        """Name no champion any more."""
        (self.place / DOCUMENT).unlink(missing_ok=True)


def _check(folder: Path, champion: Champion) -> None:
    found = read_export(folder, champion.export_digest)
    if found.model_digest != champion.model_digest:
        raise DataError(
            f"models:/{champion.name}/{champion.version}: its export is of another model than was registered; restore "
            "the run's artifacts from a backup, or choose another version"
        )
