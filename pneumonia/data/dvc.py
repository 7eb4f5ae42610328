"""Find the recorded version of the data that a folder holds, by DVC's hash computed from the files."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

log = logging.getLogger(__name__)


def dvc_md5(root: Path, record: Path = Path("data.dvc")) -> str | None:
    """Return the DVC hash of the data that `record` describes, if `root` lies in that folder and its files match.

    Args:
        root: folder of images.
        record: a ``.dvc`` file; its ``path`` is relative to its own folder.

    Returns:
        32 hexadecimal digits and ``.dir``; None where there is no record, `root` is not in the recorded folder, or the
        files differ from the record, which is also logged.
    """
    if not record.is_file():
        return None
    recorded = re.search(r"md5: ([0-9a-f]{32}\.dir)", text := record.read_text(encoding="utf-8"))
    path = re.search(r"^\s+path: (.+)$", text, re.MULTILINE)
    if recorded is None or path is None:
        return None
    folder = (record.parent / path[1].strip()).resolve()
    if folder not in (root.resolve(), *root.resolve().parents):
        return None
    if folder_md5(folder) != recorded[1]:
        log.warning("%s holds other files than %s records; `dvc status` lists them", folder, record)
        return None
    return recorded[1]


def folder_md5(folder: Path) -> str:
    """Hash a folder as DVC 3 does: the md5 of a JSON list of every file's md5 and relative path, in order of path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(lambda path: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(), files))
    names = [path.relative_to(folder).as_posix() for path in files]
    rows = sorted(
        ({"md5": md5, "relpath": name} for md5, name in zip(hashes, names, strict=True)), key=lambda row: row["relpath"]
    )
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
