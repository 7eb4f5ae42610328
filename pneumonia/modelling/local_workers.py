"""Start the other workers of a training on this machine, and end them with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pneumonia
from pneumonia.config.schema import Config
from pneumonia.data.images import Images
from pneumonia.errors import WorkerLost
from pneumonia.files import write_text
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.watched_store import POLL_SECONDS, torch_distributed
from pneumonia.modelling.workers import CONNECTING, Workers, joined
from pneumonia.timing import timed

HELPER = "pneumonia.modelling.helper"
PREFIX = "workers-"
ORPHAN_SECONDS = 0.5
"""How often a worker looks whether the process that has started it is still there."""
_INTERFACE = "GLOO_SOCKET_IFNAME"


@contextmanager
def local_workers(
    size: int, data: TrainingSet, config: Config, key: str, device: torch.device, place: Path, watch: Callable[[], None]
) -> Iterator[Workers]:
    """Start all workers but this one, which is worker 0, and meet them; afterwards they are ended.

    Args:
        size: number of workers.
        data: what is trained on; a memory-mapped array is opened by each of them.
        config: the resolved configuration.
        key: of the training.
        device: that worker 0 computes on.
        place: the training's own folder, where what they need lies meanwhile; no other process trains there.
        watch: called while they are awaited; raises an error to end that.

    Raises:
        WorkerLost: one of them ended before all had met.
    """
    started: list[subprocess.Popen[bytes]] = []

    def all_alive() -> None:
        watch()
        for rank, process in enumerate(started, 1):
            if process.poll() is not None:
                raise WorkerLost(f"worker {rank} has ended at its start, with {process.returncode}")

    with _folder(place) as folder:
        try:
            with timed("starting workers"):
                _hand_over(folder, data, config, key)
                started += [_start(folder, rank, size) for rank in range(1, size)]
                _await(range(1, size), folder, all_alive)
            mine, store = Workers(0, size, 0, device, restartable=True), meeting_place(folder, size)
            with on_loopback(), joined(store, mine, all_alive, CONNECTING) as workers:
                yield workers
        finally:
            for process in started:  # a worker keeps nothing
                process.kill()
                process.wait()


@contextmanager
def _folder(place: Path) -> Iterator[Path]:
    """Make a folder for this start of workers, and remove those that killed processes have left."""
    place.mkdir(parents=True, exist_ok=True)
    for left in place.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)  # a worker of that start may still be ending
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as name:
        yield Path(name)


def _hand_over(folder: Path, data: TrainingSet, config: Config, key: str) -> None:
    """Write what a worker needs: the settings, and the training images without their patients."""
    images = data.train
    pixels = images.pixels
    if not (isinstance(pixels, np.memmap) and isinstance(pixels.base, mmap)):  # an array in memory, or a part of one
        np.save(folder / "pixels.npy", pixels)
    else:
        (folder / "pixels.npy").symlink_to(Path(str(pixels.filename)).resolve())
    np.save(folder / "rows.npy", images.rows)
    np.save(folder / "labels.npy", images.labels)
    write_text(folder / "config.json", config.model_dump_json())
    write_text(folder / "key", key)


def handed_over(folder: Path) -> tuple[TrainingSet, Config, str]:
    """Read what worker 0 has written: training images without patients, none for validation; settings; the key."""
    pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
    rows, labels = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("rows", "labels"))
    images = Images(pixels, rows, labels, [""] * len(rows))
    config = Config.model_validate_json((folder / "config.json").read_text(encoding="utf-8"))
    return TrainingSet(images, images.take(np.arange(0))), config, (folder / "key").read_text(encoding="utf-8")


def own_folder(folder: Path, rank: int) -> Path:
    """Return the folder of a worker, which it creates when it is ready."""
    return folder / str(rank)


def meeting_place(folder: Path, size: int) -> Any:
    """Return the store where the workers meet: a file, since any process of the machine could write to a port."""
    return torch_distributed.FileStore(str(folder / "store"), size)


def _start(folder: Path, rank: int, size: int) -> subprocess.Popen[bytes]:
    package = str(Path(pneumonia.__file__).parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", HELPER, str(folder), str(rank), str(size), str(os.getpid())]
    # a worker computes with as many threads as worker 0, and starts no more than those
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def _await(ranks: Iterable[int], folder: Path, watch: Callable[[], None]) -> None:
    while not all(own_folder(folder, rank).exists() for rank in ranks):
        watch()
        time.sleep(POLL_SECONDS)


def end_with(owner: int) -> None:
    """End this process, whatever it waits for, as soon as the one that has started it is gone.

    Args:
        owner: process id of that one.
    """

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(ORPHAN_SECONDS)
        os._exit(1)  # nothing here is worth keeping; the folder is removed by the next start

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let gloo use no other network interface inside the context than the machine's own."""
    before = os.environ.get(_INTERFACE)
    os.environ[_INTERFACE] = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    try:
        yield
    finally:
        del os.environ[_INTERFACE]
        if before is not None:
            os.environ[_INTERFACE] = before
