"""Steps of a cross-validation on a cluster: train and score many folds at once, each on one machine.

The machines share the work folder, where a fold's checkpoint is, and the MLflow server. A machine that dies costs the
epochs since the last checkpoint of its folds: another one resumes them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumonia.cluster import Cluster, check_engine
from pneumonia.config.schema import Config
from pneumonia.environment import prepare
from pneumonia.errors import ConfigError, FolderInUse, PneumoniaError
from pneumonia.files import write_text
from pneumonia.progress import Progress, silent
from pneumonia.records.base import Document
from pneumonia.records.cross_validation import FoldResult
from pneumonia.records.steps import Dataset, TrainedModel
from pneumonia.source_digest import source_digest
from pneumonia.timing import reports_time
from pneumonia.tracking.client import check_store, make_store, tracking_uri
from tasks.score_fold import score_fold
from tasks.train_model import train_model

LOCK_SECONDS = 180.0
"""How long is waited for the lock of a process that has died on another machine: a server of files keeps it so long."""
MODULES = ("pneumonia.modelling.training_loop", "pneumonia.evaluation.cross_validation")
"""What a fold's result depends on."""
PROBES = "cluster"


class Fold(Document):
    """A fold to be measured elsewhere."""

    dataset: Dataset
    config: Config
    tags: dict[str, str]


class MeasuredFold(Document):
    """A fold's model and its result."""

    trained: TrainedModel
    result: FoldResult


@reports_time
def measure_folds(
    datasets: Sequence[Dataset],
    configs: Sequence[Config],
    address: str,
    progress: Progress = silent,
    tags: Mapping[str, str] | None = None,
) -> tuple[MeasuredFold, ...]:
    """Train and score folds on the machines of a Ray cluster: `train_model`, then `score_fold`, of each.

    Args:
        datasets: of each fold, from `prepare_data`.
        configs: of each fold, from `plan_folds`.
        address: of the cluster.
        progress: called with the folds done and all folds.
        tags: further tags of the folds' MLflow runs.

    Returns:
        The folds in their order, with the same digests as on one machine of that kind and number of threads.

    Raises:
        PneumoniaError: the cluster cannot be used, or its machines do not share what they must; the message names it.
    """
    config = configs[0]
    uri = tracking_uri(config)
    located = [_located(each, uri) for each in configs]
    folds = [
        Fold(dataset=dataset, config=config, tags=dict(tags or {})).model_dump(mode="json")
        for dataset, config in zip(datasets, located, strict=True)
    ]
    found: dict[int, MeasuredFold] = {}
    with Cluster(address) as cluster:
        cpus, gpus = needs(cluster, located[0])
        check_shared(cluster, located[0], datasets[0])
        make_store(uri)  # before two machines do at once
        for done in cluster.map(measure_fold, folds, cpus=cpus, gpus=gpus):
            found[done.number] = fold = MeasuredFold.model_validate(done.result)
            words = f"fold {fold.result.fold + 1}, seed {fold.result.seed}"
            progress(len(found), len(folds), f"{words}: AUROC {fold.result.metrics['auroc'].value:.3f}")
    return tuple(found[number] for number in range(len(folds)))


def check_cluster(config: Config, engine: str, address: str) -> None:
    """See, before images are packed, that a cluster can be used and has room for a fold; engine local needs none.

    Raises:
        PneumoniaError: it cannot, or no node has what a training takes; the message names the setting.
        ConfigError: an address without engine ray, or engine ray without an address.
    """
    check_engine(engine, address)
    if engine == "ray":
        with Cluster(address) as cluster:
            needs(cluster, config)


def _located(config: Config, uri: str) -> Config:
    """Return the configuration with the addresses that do not depend on where a process was started.

    One process computes the shards of a fold, where no number is set: beside it other folds are trained, and as many
    processes as there are cores would take theirs.
    """
    tracking = config.tracking.model_copy(update={"uri": uri})
    train = config.train.model_copy(update={"workers": config.train.workers or bool(config.train.shards)})
    work = str(Path(config.work).resolve())
    return config.model_copy(update={"work": work, "tracking": tracking, "train": train})


def needs(cluster: Cluster, config: Config) -> tuple[float, float]:
    """Return the processor cores and devices that a training takes of its machine.

    Where batches are cut into shards, each of train.workers processes has train.threads threads, or one, and a device
    of its own. Otherwise there is one process, which with train.threads=0 takes the whole machine, as large as the
    smallest one.

    Raises:
        PneumoniaError: no node has so many.
    """
    train, workers = config.train, max(config.train.workers, 1)
    gpus = workers if train.device == "cuda" or (train.device == "auto" and cluster.smallest("GPU") >= 1) else 0
    cpus = workers * (train.threads or (1 if train.shards else cluster.smallest("CPU")))
    fewer = {"train.threads": train.threads, "train.workers": train.workers}
    remedies = [f"set {name}={number} to fewer" for name, number in fewer.items() if number > 1]
    remedies += [f"set train.device={train.device} to cpu"] if gpus else []
    cluster.check_room(float(cpus), float(gpus), " or ".join(remedies))
    return float(cpus), float(gpus)


def measure_fold(document: dict[str, Any]) -> dict[str, Any]:
    """Train a fold's model and score the fold, in a process of a node; repeated, it resumes from the checkpoint.

    Args:
        document: a `Fold`.

    Returns:
        A `MeasuredFold`.
    """
    prepare()
    fold = Fold.model_validate(document)
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            trained = train_model(fold.dataset, fold.config, silent, fold.tags)
            result = score_fold(fold.dataset, trained, fold.config)
        except FolderInUse:  # of a process that is dying with its machine
            if time.monotonic() > end:
                raise
            time.sleep(1.0)
        else:
            return MeasuredFold(trained=trained, result=result).model_dump(mode="json")


def check_shared(cluster: Cluster, config: Config, dataset: Dataset) -> None:
    """See that every machine has this release, the work folder with the images, and the MLflow server.

    Raises:
        PneumoniaError: one has not; the message names it and says what to do.
    """
    folder = Path(config.work) / PROBES
    token = folder / f"seen-by-every-node.{os.urandom(4).hex()}"
    write_text(token, "")
    try:
        asked = {"token": str(token), "pixels": dataset.pixels, "work": config.work, "uri": config.tracking.uri}
        found = cluster.on_every_node(look, asked)
    finally:
        token.unlink(missing_ok=True)
    addresses = cluster.nodes()
    for node, seen in found.items():
        where = f"node {addresses.get(node, node)}"
        if seen["source"] != source_digest(*MODULES):
            raise PneumoniaError(f"{where}: has another release of pneumonia; install the same one on every machine")
        if seen["problem"]:
            raise PneumoniaError(f"{where}: {seen['problem']}")
    if config.tracking.uri.startswith("sqlite") and len({seen["machine"] for seen in found.values()}) > 1:
        raise ConfigError(
            f"tracking.uri={config.tracking.uri}: is a file, which several machines must not write; start a server "
            "(pneumonia ui, or docs/deployment.md) and name it: --set tracking.uri=http://HOST:5000"
        )


def look(asked: dict[str, str]) -> dict[str, str]:
    """Look from a node at what a fold needs; return its release, its machine, and what is wrong (empty: nothing)."""
    problem = ""
    if not Path(asked["token"]).exists() or not Path(asked["pixels"]).exists():
        problem = (
            f"{asked['work']}: is not the same folder there; mount one share at this path on every machine, or choose "
            "a shared one with --set work=DIR"
        )
    else:
        try:
            check_store(asked["uri"])
        except PneumoniaError as error:
            problem = f"{error} (name it as every machine reaches it: --set tracking.uri=http://HOST:5000)"
    return {"source": source_digest(*MODULES), "machine": _machine(), "problem": problem}


def _machine() -> str:
    """Return what no two machines have in common."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else os.uname().nodename
