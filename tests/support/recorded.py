"""A folder with the record, the cache and the remote that DVC would leave of it, without a process of DVC."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pneumonia.data.dvc import folder_md5


def record(project: Path, name: str = "data") -> Path:
    """Write ``data.dvc`` and the list of the files in DVC's cache; return the record."""
    folder = project / name
    md5 = folder_md5(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = [
        {
            "md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
            "relpath": path.relative_to(folder).as_posix(),
        }
        for path in files
    ]
    place = project / ".dvc" / "cache" / "files" / "md5" / md5[:2]
    place.mkdir(parents=True, exist_ok=True)
    (place / md5[2:]).write_text(json.dumps(rows, sort_keys=True))
    size = sum(path.stat().st_size for path in files)
    file = project / f"{name}.dvc"
    file.write_text(f"outs:\n- md5: {md5}\n  size: {size}\n  nfiles: {len(files)}\n  hash: md5\n  path: {name}\n")
    return file
