"""Score a whole archive into a Parquet file: in parts, so that a run that was killed resumes. Not a medical device.

Archive and result are folders of this machine or of an object store (`pneumonia.data.places`). Beside the result,
``<name>.parts`` holds one Parquet file for every `PART` images, in the order of the sorted names, and a document of
what is scored. A part appears as a whole, under a name that its content follows from: whoever writes it, once or twice,
writes the same. A later run with the same files and model finds it and goes on behind it. At the end the parts become
the result, which appears as a whole too.

The part is the unit of every engine: one process scores part after part, and a cluster (`archive_worker`) many at once.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pneumonia.data.places import Contents, Place, open_file
from pneumonia.errors import DataError, PneumoniaError
from pneumonia.files import printable
from pneumonia.inference.predictor import Predictor
from pneumonia.progress import Progress, silent

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

PART = 512
"""Images in a part: what a killed run scores again at most."""
NOTE = "scored.json"
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


class Part(NamedTuple):
    """A part of an archive.

    Attributes:
        name: of its Parquet file.
        images: names in the archive.
    """

    name: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class Scoring:
    """What is scored, and where its parts go.

    Attributes:
        predictor: the model.
        source: the archive.
        parts: the folder of the parts.
    """

    predictor: Predictor
    source: Place
    parts: Place


Mapper = Callable[[Scoring, Iterator[Part]], Iterator[int]]
"""Scores parts in whatever order, and yields the number of images whenever some are done: all of a part at the end."""


def score_archive(
    predictor: Predictor,
    source: Place,
    contents: Contents,
    out: str,
    progress: Progress = silent,
    mapper: Mapper | None = None,
) -> dict[str, int]:
    """Score the images of an archive into a Parquet file, each once, or resume where an earlier run was stopped.

    Args:
        predictor: the model.
        source: the archive.
        contents: its images, from `Place.survey`.
        out: path or URL of the Parquet file.
        progress: called with the images done and all images.
        mapper: scores the parts; by default this process does, one after another.

    Returns:
        The number of images by decision, and of refused ones by code.

    Raises:
        PneumoniaError: another process writes this result, or the parts there are of other files or another model.
        DataError: it cannot be written.
    """
    target, name = open_file(out)
    scoring = Scoring(predictor, source, target.child(f"{name}.parts"))
    with scoring.parts.locked():
        key = _check_same(scoring, contents)
        planned = _plan(contents.images, key)
        present = scoring.parts.names()
        missing = [part for part in planned if part.name not in present]
        total = len(contents.images)
        done = total - sum(len(part.images) for part in missing)
        progress(done, total)
        for count in (mapper or score_here)(scoring, iter(missing)):
            progress(done := done + count, total)
        counts = _join(scoring.parts, [part.name for part in planned], target, name)
    scoring.parts.remove()
    return counts


def score_here(scoring: Scoring, parts: Iterator[Part]) -> Iterator[int]:
    """Score parts in this process; yield 1 after each image, 0 after each part."""
    for part in parts:
        yield from score_part(scoring, part)


def score_part(scoring: Scoring, part: Part) -> Iterator[int]:
    """Score one part and publish its file; yield 1 after each image."""
    import pyarrow.parquet as pq

    rows = []
    for result in scoring.predictor.stream_from(part.images, scoring.source.read):
        rows.append(_row(result))
        yield 1
    table = _table(rows)
    scoring.parts.publish(part.name, lambda path: pq.write_table(table, path))


def _plan(images: Sequence[str], key: str) -> list[Part]:
    """Divide the images into parts; a part's name holds the key of the scoring, so that no other's is taken for it."""
    starts = range(0, len(images), PART)
    return [
        Part(f"part-{number:06d}.{key[:12]}.parquet", tuple(images[start : start + PART]))
        for number, start in enumerate(starts)
    ]


def _check_same(scoring: Scoring, contents: Contents) -> str:
    """Return the key of the scoring; refuse to go on with parts of other files, another model or another threshold."""
    predictor, parts, model = scoring.predictor, scoring.parts, scoring.predictor.model
    now = {
        "files": len(contents.images),
        "digest": contents.digest,
        "model": model.record.model_digest(),
        "version": f"{predictor.name} {predictor.version}",
        "precision": model.precision,
        "check_input": model.checks_input,
        "part": PART,
    }
    text = json.dumps(now, indent=2)
    if not parts.create(NOTE, text):
        then = json.loads(parts.text(NOTE) or "{}")
        if then != now:
            changed = ", ".join(key for key in now if then.get(key) != now[key])
            raise PneumoniaError(
                f"{parts}: holds a part of another scoring ({changed} changed since); finish that one, or remove the "
                "folder to begin anew"
            )
    return hashlib.sha256(text.encode()).hexdigest()


def _row(result: dict[str, Any]) -> dict[str, Any]:
    row = {name: result.get(name) for name, _ in COLUMNS}
    row["file"] = printable(result["file"])
    row["checks"] = json.dumps(result.get("checks") or {})
    return row


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {"string": pa.string(), "double": pa.float64(), "bool": pa.bool_()}
    return pa.schema([(name, kinds[kind]) for name, kind in COLUMNS])


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(rows, _schema())


def _join(parts: Place, names: Sequence[str], target: Place, out: str) -> dict[str, int]:
    """Write the result from its parts, one after the other, and count what they say.

    Raises:
        PneumoniaError: a part is gone: somebody else finishes the same scoring, or has removed the folder.
    """
    import pyarrow.parquet as pq

    if gone := set(names) - parts.names():
        raise PneumoniaError(
            f"{parts}: {len(gone)} parts are gone, such as {min(gone)}: another run of this scoring has finished, or "
            "somebody has removed them; look whether the result is there, otherwise run the same command again"
        )
    counts: dict[str, int] = {}

    def write(path: Path) -> None:
        with pq.ParquetWriter(path, _schema()) as writer:
            for name in names:
                table = pq.read_table(io.BytesIO(parts.fetch(name)))
                writer.write_table(table)
                for decision, code in zip(table["decision"].to_pylist(), table["code"].to_pylist(), strict=True):
                    said = code if decision is None else decision
                    counts[said] = counts.get(said, 0) + 1

    try:
        target.publish(out, write, parts)
    except OSError as error:
        raise DataError(f"{target}/{out}: cannot be written ({error.strerror or error}); free space") from error
    return counts
