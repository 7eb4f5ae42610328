"""Score an archive from its address to the result's: find the model, list the images, score them, here or on a cluster.

Shared by the command, the flow and the DAG.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pneumonia.cluster import Cluster, check_engine
from pneumonia.config.schema import Config
from pneumonia.data.layout import KINDS, summarise
from pneumonia.data.places import open_file, open_place
from pneumonia.errors import DataError
from pneumonia.inference.archive import Mapper, score_archive, score_here
from pneumonia.inference.predictor import Predictor
from pneumonia.progress import Progress, silent


def run_scoring(
    config: Config,
    source: str,
    out: str,
    model: str | None = None,
    progress: Progress = silent,
    *,
    engine: str = "local",
    address: str | None = None,
    on_words: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """Score the images of an archive into a Parquet file; see `pneumonia.inference.archive`.

    Args:
        config: names the store of models, and how one is run.
        source: path or URL of the archive.
        out: path or URL of the Parquet file.
        model: its address; by default the champion.
        progress: called with the images done and all images.
        engine: one of `pneumonia.cluster.ENGINES`.
        address: of the Ray cluster, for engine ray.
        on_words: called with what was passed over in the archive, if anything was.

    Returns:
        The number of images by decision, and of refused ones by code.

    Raises:
        ConfigError: an address that cannot be used or is not used, or an engine that does not exist.
        PneumoniaError: see `score_archive`; or the cluster cannot be used.
    """
    check_engine(engine, address)
    place, _ = open_place(source), open_file(out)  # before anything is read
    with _mapper(engine, address) as mapper:  # before the archive is listed, which may take long
        contents = place.survey()
        if words := summarise(contents.others, contents.litter):
            on_words(words)
        if not contents.images:
            raise DataError(f"{place}: holds no image ({KINDS})")
        return score_archive(Predictor.load(model, config), place, contents, out, progress, mapper)


@contextmanager
def _mapper(engine: str, address: str | None) -> Iterator[Mapper]:
    """Yield what scores the parts, with the connection that it needs."""
    if engine == "local":
        yield score_here
        return
    from pneumonia.inference.archive_worker import on_cluster

    with Cluster(address or "") as cluster:
        cluster.check_room(1)
        yield on_cluster(cluster)
