"""Scoring of an archive as a Prefect flow of one step: score_archive, here or on a Ray cluster.

python flows/score_archive.py --help
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `python flows/score_archive.py` puts flows/ there alone

from flows.defaults import set_defaults
from flows.heartbeat import Heartbeat
from flows.supervisor import ready, refuse_launcher, supervise
from pneumonia.environment import prepare as prepare_environment

set_defaults()
if __name__ == "__main__":  # before the libraries, which take seconds to load
    prepare_environment()
    refuse_launcher()
    supervise()
    alive = Heartbeat("loading the libraries")
    alive.start()
    from flows import prefect_server

    prefect_server.load()

import typer
from prefect import flow
from prefect.artifacts import create_table_artifact

import tasks.score_archive as scoring
from flows.options import Address, ConfigFile, Engine, Settings, resolved
from flows.parameters import guarded
from flows.pipeline import step
from flows.progress import reported
from flows.terminal import check_servers, failures
from pneumonia.cluster import EngineName, check_engine
from pneumonia.config.schema import Config
from pneumonia.data.places import check_address
from pneumonia.records.archive import ScoredArchive


@step("score_archive")
def score_archive(config: Config, source: str, out: str, model: str, engine: EngineName, address: str) -> ScoredArchive:
    with reported("score_archive") as progress:
        found = scoring.score_archive(config, source, out, model, engine, address, progress)
    rows = [{"decision or code": name, "images": number} for name, number in sorted(found.counts.items())]
    create_table_artifact(rows, key="scored-archive", description=f"{found.file}. Not a medical device.")
    return found


@guarded
@flow(name="pneumonia-score-archive", persist_result=False)
def scored_archive(
    config: Config, source: str, out: str, model: str = "", engine: EngineName = "local", address: str = ""
) -> ScoredArchive:
    """Score the images of an archive, each once, into a Parquet file. Not a medical device.

    Args:
        config: the whole configuration; `pneumonia config` prints one.
        source: folder of images: a path, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER.
        out: Parquet file: a path or URL.
        model: address of a model; empty for the champion.
        engine: local, this machine; ray, the machines of a cluster.
        address: of the Ray cluster.
    """
    found: ScoredArchive = score_archive(config, source, out, model, engine, address)
    return found


def main(
    source: Annotated[str, typer.Argument(metavar="DIR", help="folder of images: a path, s3://… or gs://…")],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Parquet file to write: a path or URL")],
    model: Annotated[str, typer.Option("--model", metavar="URI", help="model; by default the champion")] = "",
    profile: Annotated[str, typer.Option(help="profile whose registry and work folder are used")] = "fast",
    engine: Engine = "local",
    address: Address = "",
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Score an archive of any size into a Parquet file, one row for each image.

    A command that was stopped or killed is typed again, and goes on where it was. Credentials of object stores are
    taken from the environment, on every machine that scores.

    python flows/score_archive.py s3://hospital/2026 --out s3://hospital/2026.parquet --engine ray --address HOST:6379

    Not a medical device.
    """
    with failures():
        config = resolved(profile, file, settings)
        chosen = check_engine(engine, address)
        for place in (source, out):  # before Prefect's server stores it
            check_address(place)
        check_servers(config)
        found = scored_archive(config, source, out, model, chosen, address)
        counts = ", ".join(f"{number} {name}" for name, number in sorted(found.counts.items()))
        print(f"{found.images} images in {found.file}: {counts}. Not a medical device.")


if __name__ == "__main__":
    ready()
    alive.say("starting the flow")
    try:
        typer.run(main)
    finally:
        alive.stop()
