"""Work on a Ray cluster of two nodes, of which one is killed in the middle: the results are those of one machine."""

from __future__ import annotations

import ctypes
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pneumonia.cluster import Cluster
from pneumonia.config.recipe import of_fold
from pneumonia.config.schema import Config
from pneumonia.errors import ConfigError, DataError, PneumoniaError, TrackingError
from pneumonia.inference import archive, archive_worker
from pneumonia.inference.archive_run import run_scoring
from tasks.measure_folds import MeasuredFold, check_cluster, measure_folds
from tasks.prepare_data import prepare_data
from tasks.score_fold import score_fold
from tasks.train_model import train_model
from tests.support import exports, ray_calls
from tests.support.ray_cluster import Nodes, running
from tests.support.scored_archive import make_archive
from tests.support.small import small

COUNT = 30


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Nodes]:
    with running() as nodes:
        yield nodes


@pytest.fixture
def nodes(ray_cluster: Nodes) -> Nodes:
    ray_cluster.make_two()
    return ray_cluster


@contextmanager
def killed_in_the_middle(nodes: Nodes, begun: Path) -> Iterator[None]:
    """Kill a node as soon as calls have begun on both; they leave notes in a folder, and take longer than that."""

    def watch() -> None:
        while len({note.name.split(".")[-2] for note in begun.glob("*.*")}) < 2:
            if over.wait(0.02):
                return
        nodes.kill()

    over, thread = threading.Event(), threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.nightly
def test_calls_of_a_node_that_is_killed_are_made_again(nodes: Nodes, tmp_path: Path) -> None:
    documents = [{"folder": str(tmp_path), "number": number} for number in range(8)]
    with Cluster(nodes.address) as cluster, killed_in_the_middle(nodes, tmp_path):
        assert len(cluster.nodes()) == 2
        found = {done.number: done.result for done in cluster.map(ray_calls.slow, documents)}
    assert found == {number: number**2 for number in range(8)}
    assert len(list(tmp_path.iterdir())) > 8, "one call was interrupted, and began again"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_archive(tmp_path / "archive", COUNT)


def test_an_archive_is_scored_as_on_one_machine_though_a_node_is_killed(
    nodes: Nodes, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PART", 5)
    monkeypatch.setattr(archive_worker, "score_elsewhere", ray_calls.slow_score)
    weights = exports.weights(tmp_path / "model.safetensors")
    exports.provide(tmp_path / "work", weights)
    config = Config(work=str(tmp_path / "work"))
    here, there = tmp_path / "here.parquet", tmp_path / "out" / "there.parquet"
    counts = run_scoring(config, str(images), str(here), str(weights))

    begun = tmp_path / "out" / "begun"
    with killed_in_the_middle(nodes, begun):
        found = run_scoring(config, str(images), str(there), str(weights), engine="ray", address=nodes.address)
    assert len(nodes.alive) == 1
    assert found == counts
    assert counts["unreadable"] == 1
    assert pq.read_table(there).equals(pq.read_table(here))
    assert len(list(begun.iterdir())) > -(-(COUNT + 1) // 5), "one part was interrupted, and began again"


@pytest.mark.nightly
def test_a_node_that_has_just_ended_is_not_asked(nodes: Nodes, tmp_path: Path) -> None:
    """Ray still lists it for some seconds."""
    with Cluster(nodes.address) as cluster:
        nodes.kill()
        assert len(cluster.on_every_node(ray_calls.process_id, None)) == 1


@pytest.mark.nightly
def test_what_a_function_raises_arrives_and_is_repeated_where_that_helps(ray_cluster: Nodes, tmp_path: Path) -> None:
    with Cluster(ray_cluster.address) as cluster:
        for permanent, calls in ((True, 1), (False, 3)):
            folder = tmp_path / str(permanent)
            with pytest.raises(TrackingError, match="no answer"):
                list(cluster.map(ray_calls.fails, [{"folder": str(folder), "permanent": permanent}]))
            assert len(list(folder.iterdir())) == calls


@pytest.mark.nightly
def test_folds_have_the_digests_of_one_machine_though_a_node_is_killed(
    nodes: Nodes, work: Path, tmp_path: Path, mlflow_database: Path
) -> None:
    def fold_configs(place: Path) -> list[Config]:
        return [of_fold(small(place, "train.epochs=2"), 0, 3, number) for number in range(3)]

    configs = fold_configs(work)
    datasets = [prepare_data(config) for config in configs]
    alive: list[float] = []

    def kill_after_the_first(done: float, _: float, message: str = "") -> None:
        alive.append(done)
        if len(nodes.alive) == 2:
            nodes.kill()

    measured = measure_folds(datasets, configs, nodes.address, kill_after_the_first, {"origin": "test"})
    assert alive == [1, 2, 3, 1], "each fold, and where the time went"
    other = tmp_path / "one machine"
    other.mkdir()
    shutil.copyfile(mlflow_database, other / "mlflow.db")
    for config, fold in zip(fold_configs(other), measured, strict=True):
        images = prepare_data(config)
        trained = train_model(images, config)
        result = score_fold(images, trained, config)
        assert _digests(MeasuredFold(trained=trained, result=result)) == _digests(fold)


def _digests(fold: MeasuredFold) -> tuple[object, ...]:
    scores = Path(fold.result.scores).read_text()
    return fold.trained.key, fold.trained.weights_digest, fold.result.metrics, scores


def test_two_processes_of_a_machine_that_provide_a_model_at_once_remove_nothing_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)
    lost: list[Path] = []

    def read_export(folder: Path, digest: str) -> None:
        if not (folder / digest).exists():
            with suppress(threading.BrokenBarrierError):
                both.wait(0.5)  # both have seen that it is missing, where nothing keeps them apart
            raise DataError(f"{folder}: no {digest}")

    def rmtree(folder: Path, **_: bool) -> None:
        if threading.current_thread().name == "late":
            time.sleep(0.3)
        lost.extend(folder.glob("*"))

    monkeypatch.setattr(archive_worker, "read_export", read_export)
    monkeypatch.setattr(archive_worker.shutil, "rmtree", rmtree)
    target, files = tmp_path / "pneumonia-0" / "digest", {"digest": b"a model"}
    provide = partial(archive_worker._provide, target, "digest", files)
    late = threading.Thread(target=provide, name="late")
    late.start()
    provide()
    late.join()
    assert lost == []
    assert (target / "digest").read_bytes() == b"a model"


def handler() -> int:
    """The address of what the kernel calls at SIGTERM."""
    found = ctypes.create_string_buffer(1024)
    ctypes.CDLL(None).sigaction(signal.SIGTERM, None, found)
    return int.from_bytes(found.raw[:8], "little")


def test_what_fits_no_node_is_refused_before_anything_starts(ray_cluster: Nodes, tmp_path: Path) -> None:
    cores = r"8 processor cores that one call .*: 1 and 0.*set train\.threads=8 to fewer, or start a larger node"
    gpu = r"1 processor cores and 1 GPU .*; set train\.device=cuda to cpu, or start"
    for words, *settings in ((cores, "train.threads=8"), (gpu, "train.threads=1", "train.device=cuda")):
        with pytest.raises(PneumoniaError, match=words):
            check_cluster(small(tmp_path, *settings), "ray", ray_cluster.address)


def test_a_connection_keeps_the_handler_of_sigterm_and_refuses_calls_without_room(
    ray_cluster: Nodes, tmp_path: Path
) -> None:
    signal.signal(signal.SIGTERM, previous := signal.getsignal(signal.SIGTERM))
    before = handler()
    with Cluster(ray_cluster.address) as cluster:
        assert signal.getsignal(signal.SIGTERM) == previous
        assert handler() == before, "Ray would print its stack"
        with pytest.raises(PneumoniaError, match="no node has the 2 processor cores"):
            next(cluster.map(ray_calls.slow, [{"folder": str(tmp_path), "number": 1}], cpus=2))


def test_the_cluster_is_looked_at_before_the_archive(tmp_path: Path) -> None:
    config = Config(work=str(tmp_path / "work"))
    score = partial(run_scoring, config, str(tmp_path / "none"), str(tmp_path / "x.parquet"))
    with pytest.raises(PneumoniaError, match="no Ray cluster answers there"):
        score(engine="ray", address="127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"address=127\.0\.0\.1:1: .* add --engine ray"):
        score(address="127.0.0.1:1")


def test_a_cluster_that_is_not_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match="needs the cluster's address"):
        Cluster("")
    with pytest.raises(PneumoniaError, match=r"127\.0\.0\.1:1: no Ray cluster answers there"), Cluster("127.0.0.1:1"):
        pass
