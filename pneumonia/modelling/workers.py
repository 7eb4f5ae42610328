"""Let the processes of one training reach one another, however they were started.

Worker 0 is the process that keeps the training: checkpoints, validation and what is reported are its own. The others
compute micro-batches. Whoever loses sight of another ends with an error; nobody waits for one that is gone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from pneumonia.errors import DataError, WorkerLost
from pneumonia.modelling.watched_store import WatchedStore, torch_distributed
from pneumonia.timing import timed

SILENCE = timedelta(minutes=30)
"""How long a worker waits for one that is reachable and silent, such as worker 0 while it validates."""
JOINING = timedelta(hours=24)
"""How long a process of another launcher waits for worker 0 to come to the training: it may prepare a large set."""
CONNECTING = timedelta(minutes=1)
"""How long workers of one machine take at most to connect, once all are there; it is a matter of milliseconds."""
_CALL = "call"


@dataclass(frozen=True)
class Workers:
    """The processes that compute one training, seen from one of them.

    Attributes:
        rank: this worker's number, from 0.
        size: their number.
        local_rank: its number on its machine, and that of its GPU.
        device: where the tensors are that they exchange.
        restartable: worker 0 has started the others itself, and can do so again.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    restartable: bool = False

    def gather(self, values: Tensor) -> list[Tensor]:
        """Return every worker's values, in the workers' order; all must give the same shape.

        Raises:
            WorkerLost: another worker is gone, or silent for longer than `SILENCE`.
        """
        if self.size == 1:
            return [values]
        found = values.new_empty((self.size, *values.shape))
        found[self.rank] = values
        self.gather_into(found)
        return list(found)

    def gather_into(self, found: Tensor) -> None:
        """Fill in what the other workers have put at their rank, where this one has put its own.

        Args:
            found: [size, …], of the same shape for all.

        Raises:
            WorkerLost: as for `gather`.
        """
        self._communicate(lambda: dist.all_gather(list(found), found[self.rank]))

    def share(self, content: bytes) -> bytes:
        """Return what worker 0 gives; what the others give is not used.

        Raises:
            WorkerLost: as for `gather`.
        """
        if self.size == 1:
            return content
        length = torch.tensor([len(content)], device=self.device)
        self._communicate(lambda: dist.broadcast(length, 0))
        data = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if not self.rank and content:
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device)
        if len(data):
            self._communicate(lambda: dist.broadcast(data, 0))
        return data.cpu().numpy().tobytes()

    def check_same(self, key: str, description: str) -> list[str]:
        """Return what all workers compute with, each once, in their order.

        Raises:
            DataError: they are not to train the same thing.
            WorkerLost: as for `gather`.
        """
        text = f"{key}\n{description}".encode()[:512].ljust(512)
        mine = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(self.device)
        lines = [
            each.cpu().numpy().tobytes().decode(errors="replace").rstrip().split("\n") for each in self.gather(mine)
        ]
        for rank, (theirs, *_) in enumerate(lines):
            if theirs != key:
                raise DataError(
                    f"worker {rank} is to train {theirs[:8]}, worker {self.rank} {key[:8]}: give all of them the same "
                    "images, settings, initial weights, code and versions of torch and numpy"
                )
        return list(dict.fromkeys(words for _, words in lines))

    def _communicate(self, act: Callable[[], object]) -> None:
        try:
            act()
        except RuntimeError as error:
            self._lost(error)

    def _lost(self, error: RuntimeError) -> NoReturn:
        why = str(error).partition("\n")[0].partition(". This is")[0]
        again = "" if self.restartable else "; started again, the training resumes from its last checkpoint"
        raise WorkerLost(
            f"worker {self.rank} of {self.size} no longer reaches another one of this training ({why}){again}"
        ) from error


@contextmanager
def joined(
    store: Any, workers: Workers, watch: Callable[[], None] = lambda: None, connecting: timedelta = SILENCE
) -> Iterator[Workers]:
    """Meet the other workers at a store: with gloo on CPUs, with nccl on GPUs.

    Args:
        store: of all workers.
        workers: this one among them.
        watch: called while this worker waits for another at the store; raises an error to end that. With nccl nothing
            is waited for here, but in the first exchange.
        connecting: how long they take at most to connect, once all have come to the store.

    Raises:
        WorkerLost: they do not come within `SILENCE`, or do not connect.
    """
    hook = sys.excepthook  # torch puts one that writes the rank before every line, and leaves it there
    kind = "gloo" if workers.device.type == "cpu" else "nccl"
    place = WatchedStore(store, watch, SILENCE) if kind == "gloo" else store

    def meet() -> None:
        dist.init_process_group(kind, store=place, rank=workers.rank, world_size=workers.size, timeout=connecting)
        torch_distributed.distributed_c10d._set_pg_timeout(SILENCE)

    try:
        with timed("starting workers"):
            workers._communicate(meet)
        yield workers
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        # torch names a group by its number, which must be that of the other workers, who are new processes
        torch_distributed.distributed_c10d._world.group_count = 0
        sys.excepthook = hook


@dataclass(frozen=True)
class Launch:
    """What a launcher such as ``torchrun`` has put into a process's environment.

    Attributes:
        rank: the process's number, from 0.
        size: number of processes.
        local_rank: its number on this machine, and that of its GPU.
        restart: how often the launcher has started them again.
    """

    rank: int
    size: int
    local_rank: int
    restart: int

    @classmethod
    def found(cls) -> Launch | None:
        """Return the launch that this process is part of; None where it was started alone."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1 or "RANK" not in os.environ:
            return None
        rank = int(os.environ["RANK"])
        local = int(os.environ.get("LOCAL_RANK", rank))
        return cls(rank, size, local, int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))

    def store(self) -> Any:
        """Return where the processes of this start meet; an earlier start's words are not seen in it."""
        store, _, _ = next(torch_distributed.rendezvous("env://", timeout=SILENCE))
        return torch_distributed.PrefixStore(f"pneumonia/{self.restart}", store)

    @contextmanager
    def meet(self, device: torch.device, watch: Callable[[], None] = lambda: None) -> Iterator[Workers]:
        """Meet the others; worker 0 calls them, who are waiting in `awaited`.

        Args:
            device: of the tensors that they exchange.
            watch: see `joined`.

        Raises:
            WorkerLost: they do not come within `SILENCE`.
        """
        store = self.store()
        if not self.rank:
            store.set(_CALL, "train")
        with joined(store, Workers(self.rank, self.size, self.local_rank, device), watch) as workers:
            yield workers

    def awaited(self) -> bool:
        """Wait for worker 0's call, and return whether there is a training to join.

        Raises:
            WorkerLost: worker 0's machine is gone, or it has not called within `JOINING`.
        """
        end = time.monotonic() + JOINING.total_seconds()
        try:
            store = self.store()
            while not store.check([_CALL]):
                if time.monotonic() > end:
                    raise WorkerLost(f"worker {self.rank}: worker 0 has not begun within {JOINING}; see its log")
                time.sleep(0.2)
            return bool(store.get(_CALL) == b"train")
        except RuntimeError as error:
            first = str(error).partition("\n")[0]
            raise WorkerLost(f"worker {self.rank}: the launcher's store is gone ({first}); start all again") from error


def dismiss_helpers() -> None:
    """Let the other processes of a launcher end, where they still wait for a training; alone there are none."""
    launch = Launch.found()
    if launch is not None and not (store := launch.store()).check([_CALL]):
        store.set(_CALL, "end")
