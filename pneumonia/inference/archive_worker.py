"""Score the parts of an archive on the machines of a cluster, each of which gets the model once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from pneumonia.cluster import Cluster
from pneumonia.config.service import ServingConfig
from pneumonia.data.places import open_place
from pneumonia.errors import DataError, PneumoniaError
from pneumonia.files import atomic_folder
from pneumonia.inference.archive import Mapper, Part, Scoring, score_part
from pneumonia.inference.model_source import Found
from pneumonia.inference.predictor import Predictor
from pneumonia.records.base import Document
from pneumonia.registry.mirror import read_export
from pneumonia.source_digest import source_digest

MODULE = "pneumonia.inference.archive_worker"


class RemotePart(Document):
    """A part to be scored elsewhere.

    Attributes:
        part: its file's name and its images.
        source, parts: addresses of the archive and of the folder of parts.
        name, version: of the model.
        export_digest: of the model's files.
        threshold: from which an image is classified as PNEUMONIA.
        serving: how the model is run.
    """

    part: tuple[str, tuple[str, ...]]
    source: str
    parts: str
    name: str
    version: str
    export_digest: str
    threshold: float
    serving: ServingConfig


class Probe(Document):
    """What a node is asked before it is given work.

    Attributes:
        source, parts: addresses that it must reach.
        token: name of a file in `parts`.
        image: name of a file in `source`.
    """

    source: str
    parts: str
    token: str
    image: str


def on_cluster(cluster: Cluster) -> Mapper:
    """Return what scores the parts on a cluster: one part a processor core, as many at once as it has cores."""

    def score(scoring: Scoring, parts: Iterator[Part]) -> Iterator[int]:
        if (first := next(parts, None)) is None:
            return
        check_nodes(cluster, scoring, first)
        folder = scoring.predictor.model.folder
        files = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}
        yield from (
            finished.result
            for finished in cluster.map(score_elsewhere, _documents(scoring, first, parts), shared=files)
        )

    return score


def _documents(scoring: Scoring, first: Part, others: Iterator[Part]) -> Iterator[dict[str, Any]]:
    predictor = scoring.predictor
    common = RemotePart(
        part=first,
        source=scoring.source.url,
        parts=scoring.parts.url,
        name=predictor.name,
        version=predictor.version,
        export_digest=predictor.model.export.digest(),
        threshold=predictor.record.threshold,
        serving=predictor.config.model_copy(update={"threads": 1, "precision": predictor.model.precision}),
    ).model_dump()
    yield common
    for part in others:
        yield common | {"part": part}


def score_elsewhere(document: dict[str, Any], files: Mapping[str, bytes]) -> int:
    """Score a part in a process of a node; return its number of images. Repeated, it writes the same file again.

    Args:
        document: a `RemotePart`.
        files: of the exported model, content by name.
    """
    wanted = RemotePart.model_validate(document)
    predictor = _predictor(wanted, files)
    predictor.use_threshold(wanted.threshold)
    scoring = Scoring(predictor, open_place(wanted.source), open_place(wanted.parts))
    return sum(score_part(scoring, Part(*wanted.part)))


_loaded: dict[tuple[str, ...], Predictor] = {}
"""The model of this process, by what names it: one at most."""


def _predictor(wanted: RemotePart, files: Mapping[str, bytes]) -> Predictor:
    """Write the model's files once a machine, verify them, and load the model once a process."""
    key = (wanted.export_digest, wanted.name, wanted.version, wanted.serving.model_dump_json())
    if key not in _loaded:
        target = Path(tempfile.gettempdir()) / f"pneumonia-{os.getuid()}" / wanted.export_digest[:16]
        _provide(target, wanted.export_digest, files)
        _loaded.clear()
        _loaded[key] = Predictor(Found(target, wanted.name, wanted.version), wanted.serving)
    return _loaded[key]


def _provide(target: Path, digest: str, files: Mapping[str, bytes]) -> None:
    """See that a folder holds the model's files; one process of the machine looks at a time, the others wait for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):  # the kernel releases it when its process dies
        try:
            read_export(target, digest)
        except DataError:
            shutil.rmtree(target, ignore_errors=True)  # not there, or damaged
            with atomic_folder(target) as place:
                for file, content in files.items():
                    (place / file).write_bytes(content)
            read_export(target, digest)


def check_nodes(cluster: Cluster, scoring: Scoring, first: Part) -> None:
    """See that every node has this release, reads the archive, and sees the folder of parts, before work is given out.

    Raises:
        PneumoniaError: one does not; the message names it and says what to do.
    """
    token = f"seen-by-every-node.{os.urandom(4).hex()}"
    scoring.parts.create(token, "")
    document = Probe(source=scoring.source.url, parts=scoring.parts.url, token=token, image=first.images[0])
    nodes = cluster.nodes()
    here = source_digest(MODULE)
    for node, found in cluster.on_every_node(probe, document.model_dump()).items():
        where = f"node {nodes.get(node, node)}"
        if found["source"] != here:
            raise PneumoniaError(f"{where}: has another release of pneumonia; install the same one on every machine")
        if found["problem"]:
            raise PneumoniaError(f"{where}: {found['problem']}")


def probe(document: dict[str, Any]) -> dict[str, str]:
    """Look from a node at what it would need: its release's digest, and what is wrong, empty if nothing is."""
    asked, problem = Probe.model_validate(document), ""
    try:
        source, parts = open_place(asked.source), open_place(asked.parts)
        if not source.has(asked.image):
            problem = f"{source}: is not the archive that was listed; use an object store, or mount the share there too"
        elif not parts.has(asked.token):
            problem = f"{parts}: is not the same folder there; write the result to an object store or a mounted share"
    except PneumoniaError as error:
        problem = str(error)
    return {"source": source_digest(MODULE), "problem": problem}
