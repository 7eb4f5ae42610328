"""Compare data with the version that ``data.dvc`` records, by DVC's hashes computed from the files."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pneumonia.errors import DataError
from pneumonia.files import printable
from pneumonia.timing import timed

log = logging.getLogger(__name__)

RECORD = Path("data.dvc")
LISTED = 5
_FOLDER_MD5 = re.compile(r"[0-9a-f]{32}\.dir")


@dataclass(frozen=True)
class Record:
    """What a ``.dvc`` file says of a folder.

    Attributes:
        file: the ``.dvc`` file.
        folder: the recorded folder, absolute.
        md5: 32 hexadecimal digits and ``.dir``.
        size: bytes of its files; None where that is not recorded.
    """

    file: Path
    folder: Path
    md5: str
    size: int | None


@dataclass(frozen=True)
class Comparison:
    """A recorded folder's files, compared with the record; paths are relative to the folder.

    Attributes:
        same: the files are the recorded ones.
        named: the record's list of files is in DVC's cache, so that the following are known.
        changed: files of another content.
        missing: files that are not there.
        lost: those of the missing files that are not in DVC's cache either.
        added: files that are not recorded.
    """

    same: bool
    named: bool = True
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.same:
            return "the files are the recorded ones"
        if not self.named:
            return "the files differ from the record (which of them is not known here: DVC's cache has no list of them)"
        kinds = {"changed": self.changed, "missing": self.missing, "not recorded": self.added}
        parts = [f"{len(paths)} {kind} ({_first(paths)})" for kind, paths in kinds.items() if paths]
        if self.lost:
            parts.append(f"{len(self.lost)} of the missing are not in DVC's cache ({_first(self.lost)})")
        return "; ".join(parts)


def _first(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - LISTED} more" if len(paths) > LISTED else ""
    return ", ".join(map(printable, paths[:LISTED])) + more


class _Loader(yaml.SafeLoader):
    """YAML as DVC reads it: a key that is there twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.MarkedYAMLError(problem="a key is there twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read_record(file: Path = RECORD) -> Record | None:
    """Read a ``.dvc`` file; None where there is none, or it records no folder.

    Raises:
        DataError: it is no valid YAML, which DVC refuses as well: conflict markers, another encoding.
    """
    try:
        document = yaml.load(file.read_bytes().decode("utf-8-sig"), _Loader)  # noqa: S506 — a SafeLoader
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); grant read permission") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8; write it again with dvc add, or git checkout {file}") from error
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise DataError(
            f"{file}: is not valid ({words[:200]}); where it has conflict markers (<<<<<<<), keep one of the versions, "
            f"or bring it back: git checkout {file}"
        ) from error
    outs = document.get("outs") or [] if isinstance(document, dict) else []
    for out in outs if isinstance(outs, list) else []:
        if isinstance(out, dict) and _FOLDER_MD5.fullmatch(str(out.get("md5"))) and out.get("path"):
            size = out.get("size")
            folder = (file.parent / str(out["path"])).resolve()
            return Record(file, folder, str(out["md5"]), size if isinstance(size, int) else None)
    return None


@timed("comparing with data.dvc")
def dvc_md5(root: Path, file: Path = RECORD, known: Mapping[Path, str] | None = None) -> str | None:
    """Return the DVC hash of the data that a ``.dvc`` file records, if `root` lies in that folder and its files match.

    Args:
        root: folder of images.
        file: a ``.dvc`` file; its ``path`` is relative to its own folder.
        known: md5 of the content of files that were read already, so that what was decoded is what is compared.

    Returns:
        32 hexadecimal digits and ``.dir``; None where there is no record, `root` is not in the recorded folder, or the
        files differ from the record, which is also logged, with their names.

    Raises:
        DataError: the record is not valid.
    """
    record = read_record(file)
    if record is None or record.folder not in (root.resolve(), *root.resolve().parents):
        return None
    found = compare(record, known)
    if not found.same:
        log.warning("%s holds other files than %s records: %s", record.folder, file, found)
        return None
    return record.md5


def compare(record: Record, known: Mapping[Path, str] | None = None) -> Comparison:
    """Compare the files of a recorded folder with its record.

    Args:
        record: of `read_record`.
        known: md5 of the content of files that were read already.
    """
    rows = _rows(record.folder, known or {})
    if _md5_of(rows) == record.md5:
        return Comparison(same=True)
    cache = cache_folder(record.file.parent)
    recorded = _listing(record, cache)
    if recorded is None:
        return Comparison(same=False, named=False)
    missing = tuple(sorted(recorded.keys() - rows.keys()))
    return Comparison(
        same=False,
        changed=tuple(sorted(path for path in recorded.keys() & rows.keys() if recorded[path] != rows[path])),
        missing=missing,
        lost=tuple(path for path in missing if not _object(cache, recorded[path]).is_file()),
        added=tuple(sorted(rows.keys() - recorded.keys())),
    )


def folder_md5(folder: Path, known: Mapping[Path, str] | None = None) -> str:
    """Hash a folder as DVC 3 does: the md5 of a JSON list of every file's md5 and relative path, in order of path."""
    return _md5_of(_rows(folder, known or {}))


def cache_folder(project: Path) -> Path:
    """Return the folder of DVC's cache: that of the configuration where DVC is installed, otherwise the default one."""
    config = configuration(project)
    place = config.get("cache", {}).get("dir") if config else None
    return Path(place) if place else project / ".dvc" / "cache"


def configuration(project: Path) -> dict[str, Any] | None:
    """Return DVC's configuration of all levels, system, global, project and local; None where DVC is not installed.

    Raises:
        DataError: DVC refuses it.
    """
    try:
        from dvc.config import Config, ConfigError
    except ImportError:
        return None
    folder = project / ".dvc"
    try:
        found: dict[str, Any] = Config(str(folder.resolve()) if folder.is_dir() else None)
    except ConfigError as error:
        raise DataError(f"{folder}: DVC cannot use its configuration ({error}); correct it with dvc config") from error
    return found


def _rows(folder: Path, known: Mapping[Path, str]) -> dict[str, str]:
    """Return the md5 of each file, by its path relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(lambda path: known.get(path) or _md5(path), files))
    return {path.relative_to(folder).as_posix(): md5 for path, md5 in zip(files, hashes, strict=True)}


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _md5_of(rows: Mapping[str, str]) -> str:
    listed = [{"md5": rows[path], "relpath": path} for path in sorted(rows)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _object(cache: Path, md5: str) -> Path:
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def _listing(record: Record, cache: Path) -> dict[str, str] | None:
    """Return the recorded md5 of each file, from DVC's cache; None where that has no undamaged list."""
    try:
        content = _object(cache, record.md5).read_bytes()
    except OSError:
        return None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != record.md5.removesuffix(".dir"):
        return None
    return {str(row["relpath"]): str(row["md5"]) for row in json.loads(content)}
