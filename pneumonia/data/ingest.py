"""Bring images of the place of use, with labels that readers have settled, into the next version of a data set.

New files lie under the training folder alone; the test folder is never touched. Decisions are made first, and files
are written in a fixed order, each atomically, so that a run that was killed is finished by the next one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES, Config
from pneumonia.data.audit.near_duplicates import near_any
from pneumonia.data.layout import INGESTED, find_root, is_ingested, survey
from pneumonia.data.packing import Packed, pack
from pneumonia.data.patient_key import PSEUDONYM
from pneumonia.data.patients import TABLE
from pneumonia.errors import DataError
from pneumonia.files import atomic_folder, write_bytes
from pneumonia.imaging.radiograph import UnreadableRadiograph, load, read_bytes
from pneumonia.progress import Progress, silent

_SHOWN = 16  # digits of a file's digest in its name
MIXED = "phantom among radiographs, or radiograph among phantoms"
_COPIED = (TABLE, "phantom.json")


@dataclass(frozen=True)
class Candidate:
    """An image with a settled label.

    Attributes:
        file: where it is kept; one that is in the data version already may be gone.
        sha256: of the file.
        label: index into `CLASSES`.
        patients: pseudonyms of those whom its events name; empty where nobody is known.
    """

    file: Path
    sha256: str
    label: int
    patients: tuple[str, ...] = ()

    @property
    def patient(self) -> str:
        """The pseudonym in the new file's name; empty where nobody is known."""
        return min(self.patients, default="")

    @property
    def path(self) -> str:
        """Path of the new file, relative to the data's root."""
        who = f"{self.patient}_" if self.patient else ""
        return f"train/{CLASSES[self.label]}/{INGESTED}{who}{self.sha256[:_SHOWN]}{self.file.suffix}"


@dataclass(frozen=True)
class IngestReport:
    """What `ingest` did.

    Attributes:
        added: new images by class.
        relabelled: paths of images that were moved to the other class.
        withdrawn: paths of images that were removed.
        left_out: candidates that were not added, by reason (`pneumonia.records.feedback.LEFT_OUT`).
    """

    added: dict[str, int]
    relabelled: tuple[str, ...]
    withdrawn: tuple[str, ...]
    left_out: dict[str, int]


def fill(source: Path, target: Path) -> Path:
    """Make a data version of its own with the files of another, by hard links where the disk allows; atomically.

    Args:
        source: holds train/ and test/, or one folder that does.
        target: is left alone where it holds them already.

    Returns:
        The folder of the data version that holds train/ and test/.

    Raises:
        DataError: the source is no data set, or the target cannot be written.
    """
    if target.is_dir() and any(target.iterdir()):
        return find_root(target)
    root = find_root(source)
    with atomic_folder(target) as folder:
        for file in [image.file for image in survey(root).images] + [root / name for name in _COPIED]:
            if not file.is_file():
                continue
            place = folder / file.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file.resolve(), place)
            except OSError:  # another file system, or one without hard links
                shutil.copyfile(file, place)
    return find_root(target)


def ingest(
    root: Path,
    candidates: Sequence[Candidate],
    unsettled: Collection[str],
    config: Config,
    progress: Progress = silent,
) -> IngestReport:
    """Add images with settled labels to the training folder of a data version.

    Left out are images of patients of the test folder, and images that equal one that is there, the test folder
    included, or nearly do (`pneumonia.data.audit.near_duplicates`). An image that is there already stays; where its
    label has settled on the other class it is moved, and where it is settled no more, removed.

    Args:
        root: holds train/ and test/; ``patients.csv`` gets a row for each new file where there is one.
        candidates: images with settled labels, each once.
        unsettled: sha256 of the images whose label is open or disputed.
        config: data, preprocess and the work folder.
        progress: called with the candidates done and all of them.

    Raises:
        DataError: the data set cannot be used or written, or a patient's pseudonym is none.
    """
    for candidate in candidates:
        if strange := [who for who in candidate.patients if not PSEUDONYM.fullmatch(who)]:
            raise DataError(f"{len(strange)} patient(s) of an image are no pseudonyms of this site; nothing was added")
    packed = pack_all(root, config)
    there = {digest_in(e.path): e.path for e in packed.manifest.entries if e.folder == "train" and is_ingested(e.path)}
    moves = _moves(candidates, there)
    gone = sorted(there[digest[:_SHOWN]] for digest in unsettled if digest[:_SHOWN] in there)
    new = sorted((each for each in candidates if each.sha256[:_SHOWN] not in there), key=lambda each: each.sha256)
    accepted, left_out = _choose(new, packed, config, progress)
    rows = {each.path: each.patient or INGESTED + each.sha256[:_SHOWN] for each in accepted}
    _write_rows(root, rows, moves, ())  # first: an image without a row stops everything, a row without an image nothing
    for old in gone:
        (root / old).unlink(missing_ok=True)
    for old, path in sorted(moves.items()):
        (root / old).rename(root / path)
    for candidate in accepted:
        write_bytes(root / candidate.path, candidate.file.read_bytes())
    _write_rows(root, {}, {}, [*moves, *gone])
    added = Counter(CLASSES[each.label] for each in accepted)
    return IngestReport({name: added[name] for name in CLASSES}, tuple(sorted(moves)), tuple(gone), left_out)


def pack_all(root: Path, config: Config) -> Packed:
    """Decode a data set, with every patient, and without what cannot be read, which stops only the pipeline."""
    lenient = config.data.model_copy(update={"on_unreadable": "skip", "patient_fraction": 1.0})
    return pack(root, lenient, config.preprocess, Path(config.work).resolve())


def digest_in(path: str) -> str:
    return PurePosixPath(path).stem.rpartition("_")[2]


def _moves(candidates: Sequence[Candidate], there: Mapping[str, str]) -> dict[str, str]:
    """Return the new path of each image that lies in the folder of the other class."""
    moves: dict[str, str] = {}
    for candidate in candidates:
        old = PurePosixPath(there.get(candidate.sha256[:_SHOWN], candidate.path))
        if old.parent.name != CLASSES[candidate.label]:
            moves[str(old)] = str(old.parent.with_name(CLASSES[candidate.label]) / old.name)
    return moves


def _choose(
    new: Sequence[Candidate], packed: Packed, config: Config, progress: Progress
) -> tuple[list[Candidate], dict[str, int]]:
    """Return the candidates that enter the data version, and how many do not, by reason."""
    entries, left_out = packed.manifest.entries, Counter[str]()
    tested = {entry.patient for entry in entries if entry.folder == "test"}
    known = {entry.pixels_sha256 for entry in entries}
    kept: list[Candidate] = []
    pixels: list[NDArray[np.uint8]] = []
    for done, candidate in enumerate(new, start=1):
        shown = _pixels(candidate, config, phantom=packed.phantom)
        if not candidate.file.is_file():
            left_out["no kept image"] += 1
        elif tested.intersection(candidate.patients):
            left_out["patient of the test folder"] += 1
        elif isinstance(shown, str):
            left_out[shown] += 1
        elif (digest := hashlib.sha256(shown.tobytes()).hexdigest()) in known:
            left_out["duplicate"] += 1
        else:
            known.add(digest)
            kept.append(candidate)
            pixels.append(shown)
        progress(done, len(new))
    if not kept:
        return [], dict(left_out)
    near = near_any(np.stack(pixels), packed.pixels, config.data.near_duplicate_correlation)
    left_out["near-duplicate"] += int(near.sum())
    chosen = [candidate for candidate, like in zip(kept, near.tolist(), strict=True) if not like]
    return chosen, dict(+left_out)


def _pixels(candidate: Candidate, config: Config, *, phantom: bool) -> NDArray[np.uint8] | str:
    """Return an image as it is packed, uint8 [S, S], or why it is left out."""
    try:
        content = load(candidate.file)
        shown = read_bytes(content, config.preprocess, candidate.file.name)
    except UnreadableRadiograph:
        return "unreadable"
    if hashlib.sha256(content).hexdigest() != candidate.sha256:
        return "unreadable"  # the disk has changed it
    return shown.pixels if shown.phantom == phantom else MIXED


def _write_rows(root: Path, added: Mapping[str, str], moves: Mapping[str, str], removed: Sequence[str]) -> None:
    """Add, repeat under a new path, and remove rows of ``patients.csv``, where there is one."""
    file = root / TABLE
    if not file.is_file() or not (added or moves or removed):
        return
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    there = {row["path"].strip() for row in rows}
    rows += [{**row, "path": moves[row["path"]]} for row in rows if moves.get(row["path"], row["path"]) not in there]
    rows += [{"path": path, "patient": who} for path, who in sorted(added.items()) if path not in there]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in rows if row["path"] not in removed)
    write_bytes(file, text.getvalue().encode("utf-8", "surrogateescape"))
