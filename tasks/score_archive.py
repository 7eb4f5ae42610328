"""Step that stands alone: score an archive of images into a Parquet file, on this machine or on a cluster."""

from __future__ import annotations

import logging

from pneumonia.config.schema import Config
from pneumonia.credentials import redacted
from pneumonia.inference.archive_run import run_scoring
from pneumonia.progress import Progress, silent
from pneumonia.records.archive import ScoredArchive
from pneumonia.timing import reports_time

logger = logging.getLogger(__name__)


@reports_time
def score_archive(
    config: Config,
    source: str,
    out: str,
    model: str = "",
    engine: str = "local",
    address: str = "",
    progress: Progress = silent,
) -> ScoredArchive:
    """Score an archive, each image once; a call that was stopped is repeated, and goes on where it was.

    Args:
        config: names the store of models, and how one is run.
        source: path or URL of a folder of images.
        out: path or URL of the Parquet file.
        model: its address; empty: the champion.
        engine: ``local``, or ``ray`` for the machines of a cluster.
        address: of the Ray cluster.
        progress: called with the images done and all images.

    Raises:
        ConfigError: an address or engine that cannot be used.
        DataError: the archive cannot be read, or the result not be written.
        PneumoniaError: no such model; a part of another scoring; a cluster that cannot be used.
    """
    counts = run_scoring(
        config, source, out, model or None, progress, engine=engine, address=address, on_words=logger.warning
    )
    refused = {name: number for name, number in counts.items() if name not in ("NORMAL", "PNEUMONIA")}
    found = ScoredArchive(file=redacted(out), images=sum(counts.values()), counts=counts, refused=sum(refused.values()))
    progress(1.0, 1.0, f"{found.images} images in {found.file}, {found.refused} of them refused")
    return found
