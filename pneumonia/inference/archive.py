"""Score a whole archive into a Parquet file: in parts, so that a run that was killed resumes. Not a medical device.

Beside the result, ``<name>.parts`` holds one Parquet file for every `PART` images, in the order of the sorted names,
and a document of what is scored. A part is written atomically; a later run with the same files and model finds it and
goes on behind it. At the end the parts become the result, in one atomic rename.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumonia.errors import DataError, PneumoniaError
from pneumonia.files import locked_folder, printable, write_text
from pneumonia.inference.predictor import Predictor
from pneumonia.progress import Progress, silent

if TYPE_CHECKING:
    import pyarrow as pa

PART = 512
"""Images in a part: what a killed run scores again at most."""
COLUMNS = (
    ("file", "string"),
    ("probability", "double"),
    ("decision", "string"),
    ("threshold", "double"),
    ("familiar", "bool"),
    ("distance_percentile", "double"),
    ("code", "string"),
    ("reason", "string"),
    ("checks", "string"),
    ("model", "string"),
    ("version", "string"),
    ("weights_digest", "string"),
    ("precision", "string"),
    ("phantom", "bool"),
)
"""Columns of the result; `checks` is JSON, `code` and `reason` are those of a refusal and otherwise null."""


def score_archive(
    predictor: Predictor, files: Sequence[Path], root: Path, out: Path, progress: Progress = silent
) -> dict[str, int]:
    """Score images into a Parquet file, each once, or resume where an earlier run was stopped.

    Args:
        predictor: the model.
        files: images, sorted.
        root: folder that the names in the result are relative to.
        out: the Parquet file.
        progress: called with the images done and all images.

    Returns:
        The number of images by decision, and of refused ones by code.

    Raises:
        PneumoniaError: another process writes this result, or the parts there are of other files or another model.
        DataError: it cannot be written.
    """
    parts = out.with_name(f"{out.name}.parts")
    with locked_folder(parts):
        _check_same(parts, predictor, files, root)
        for number, start in enumerate(range(0, len(files), PART)):
            chosen = files[start : start + PART]
            part = parts / f"part-{number:06d}.parquet"
            if not part.exists():
                rows = []
                for result in predictor.stream(chosen):
                    rows.append(_row(result, root))
                    progress(start + len(rows), len(files))
                _write(_table(rows), part)
            progress(min(start + PART, len(files)), len(files))
        counts = _join(parts, out)
    shutil.rmtree(parts, ignore_errors=True)
    return counts


def _check_same(parts: Path, predictor: Predictor, files: Sequence[Path], root: Path) -> None:
    """Refuse to go on with parts of other files, another model or another threshold."""
    state = hashlib.sha256()
    for file in files:
        found = file.stat()
        name = os.fsencode(file.relative_to(root))
        state.update(name + f"\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    model = predictor.model
    now = {
        "files": len(files),
        "digest": state.hexdigest(),
        "model": model.record.model_digest(),
        "version": f"{predictor.name} {predictor.version}",
        "precision": model.precision,
        "check_input": model.checks_input,
        "part": PART,
    }
    note = parts / "scored.json"
    if not note.exists():
        write_text(note, json.dumps(now, indent=2))
        return
    then = json.loads(note.read_text(encoding="utf-8"))
    if then != now:
        changed = ", ".join(key for key in now if then.get(key) != now[key])
        raise PneumoniaError(
            f"{parts}: holds a part of another scoring ({changed} changed since); finish that one, or remove the "
            "folder to begin anew"
        )


def _row(result: dict[str, Any], root: Path) -> dict[str, Any]:
    row = {name: result.get(name) for name, _ in COLUMNS}
    row["file"] = printable(Path(result["file"]).relative_to(root).as_posix())
    row["checks"] = json.dumps(result.get("checks") or {})
    return row


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {"string": pa.string(), "double": pa.float64(), "bool": pa.bool_()}
    return pa.schema([(name, kinds[kind]) for name, kind in COLUMNS])


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(rows, _schema())


def _write(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.tmp")  # the folder is locked: there is no other writer
    try:
        pq.write_table(table, temporary)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); free space, then run again") from error


def _join(parts: Path, out: Path) -> dict[str, int]:
    """Write the result from its parts, one after the other, and count what they say."""
    import pyarrow.parquet as pq

    counts: dict[str, int] = {}
    temporary = parts / ".result.tmp"
    try:
        with pq.ParquetWriter(temporary, _schema()) as writer:
            for part in sorted(parts.glob("part-*.parquet")):
                table = pq.read_table(part)
                writer.write_table(table)
                for decision, code in zip(table["decision"].to_pylist(), table["code"].to_pylist(), strict=True):
                    name = code if decision is None else decision
                    counts[name] = counts.get(name, 0) + 1
        temporary.replace(out)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error}); free space, then run again") from error
    return counts
