"""Kill a node of `cluster.py` in the middle of an archive, and of a cross-validation; compare with one machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from pneumonia.cluster import Cluster
from pneumonia.config.recipe import of_fold
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from pneumonia.data.places import open_place
from pneumonia.inference import archive_worker
from pneumonia.inference.archive import score_archive
from pneumonia.inference.predictor import Predictor
from tasks.measure_folds import measure_folds
from tasks.prepare_data import prepare_data
from tasks.train_model import train_model

SMALL = (
    "data.root=phantom", "model.architecture=tiny", "phantom.train=64", "phantom.test=32", "phantom.size=64",
    "preprocess.size=32", "train.epochs=3", "train.batch_size=16", "train.threads=1", "evaluation.bootstrap=100",
    "tracking.system_metrics=false",
)  # fmt: skip


class Nodes(Protocol):
    """The cluster of `cluster.py`."""

    address: str
    alive: list[Any]

    def kill(self) -> None:
        """Kill a node."""


def killed_archive(nodes: Nodes, predictor: Predictor, source: Path, place: Path) -> dict[str, Any]:
    """Score without a cluster, and on one whose node is killed after the first part; compare the rows."""
    folder = open_place(str(source))
    contents = folder.survey()
    here, there = place / "here.parquet", place / "there.parquet"
    score_archive(predictor, folder, contents, str(here))
    killed_at: list[float] = []

    def kill(done: float, _: float, message: str = "") -> None:  # noqa: ARG001
        if done and not killed_at:
            nodes.kill()
            killed_at.append(done)

    with Cluster(nodes.address) as cluster:
        began = time.perf_counter()
        score_archive(predictor, folder, contents, str(there), kill, archive_worker.on_cluster(cluster))
        seconds = time.perf_counter() - began
    rows = pq.read_table(there)
    return {
        "what": "archive",
        "units": len(contents.images),
        "killed_after": killed_at[0],
        "nodes_left": len(nodes.alive),
        "rows": rows.num_rows,
        "rows_once": len(set(rows["file"].to_pylist())) == rows.num_rows == len(contents.images),
        "equal": rows.equals(pq.read_table(here)),
        "seconds": round(seconds, 1),
    }


def killed_folds(nodes: Nodes, place: Path, folds: int = 4) -> dict[str, Any]:
    """Measure folds on a cluster whose node is killed after the first, and without a cluster; compare the digests."""

    def planned(work: Path) -> list[Config]:
        small = resolve("fast", assignments=[*SMALL, f"work={work}"], environment={})
        return [of_fold(small, 0, folds, number) for number in range(folds)]

    configs = planned(place / "cluster")
    datasets = [prepare_data(config) for config in configs]
    killed_at: list[float] = []

    def kill(done: float, _: float, message: str = "") -> None:  # noqa: ARG001
        if not killed_at:
            nodes.kill()
            killed_at.append(done)

    began = time.perf_counter()
    measured = measure_folds(datasets, configs, nodes.address, kill)
    seconds = time.perf_counter() - began
    here = [train_model(prepare_data(config), config).weights_digest for config in planned(place / "here")]
    return {
        "what": "cross-validation",
        "units": folds,
        "killed_after": killed_at[0],
        "nodes_left": len(nodes.alive),
        "rows": len(measured),
        "rows_once": len({fold.result.fold for fold in measured}) == folds,
        "equal": [fold.trained.weights_digest for fold in measured] == here,
        "seconds": round(seconds, 1),
    }
