"""Bring what each worker has computed for a step to all the others.

Over gloo, 45 MB of gradients each way take as long as computing them from several images: on one machine the workers
share memory instead, and only say over gloo that they have written.
"""

from __future__ import annotations

import logging
import math
import mmap
import os
import secrets
import sys
from itertools import cycle

import torch
from torch import Tensor

from pneumonia.modelling.workers import Workers

log = logging.getLogger(__name__)
_SLOTS = 2
_TOKEN_BYTES = 16


class Exchange:
    """The workers' results of one step after the other.

    Shared memory has room for two steps: what a worker reads of one is written over two steps later, and in between all
    have met again, so that nobody has to wait for the readers.
    """

    def __init__(self, workers: Workers, rows: int, width: int) -> None:
        """Agree with all workers, who make it at the same time, on where the results go.

        Args:
            workers: all of them, two or more.
            rows: the most that one worker gives for a step.
            width: numbers in a row.

        Raises:
            WorkerLost: another worker is gone.
        """
        self._workers = workers
        shape = (_SLOTS, workers.size, rows, width)
        shared = shared_memory(workers, math.prod(shape)) if workers.device.type == "cpu" else None
        self._shared = shared is not None
        slots = torch.zeros((1, *shape[1:]), device=workers.device) if shared is None else shared.view(shape)
        self._slots = cycle(slots)
        where = "shared memory" if self._shared else "the network"
        log.info("worker %d of %d: gradients are exchanged through %s", workers.rank, workers.size, where)

    def gather(self, own: list[Tensor], flag: bool) -> tuple[Tensor, bool]:
        """Return the rows of every worker, to be read until the next call, and whether any of them has raised its flag.

        Args:
            own: this worker's rows, float32 [width] each.
            flag: of this worker.

        Returns:
            Float32 [size, rows, width], in the workers' order; where a worker has given fewer rows than the most, the
            rest mean nothing.

        Raises:
            WorkerLost: another worker is gone.
        """
        workers, found = self._workers, next(self._slots)
        for row, value in zip(found[workers.rank], own, strict=False):
            row.copy_(value)
        # where memory is shared, this also says that everybody has written
        flags = workers.gather(torch.tensor([float(flag)], device=workers.device))
        if not self._shared:
            workers.gather_into(found)
        return found, any(float(each) > 0 for each in flags)


def shared_memory(workers: Workers, count: int) -> Tensor | None:
    """Return float32 [count], zeros, that all workers read and write; None where they are not on one machine.

    It is a file without a name, which takes none of /dev/shm and ends with the processes. Worker 0 makes it; whoever
    finds worker 0's token in it is on its machine.

    Raises:
        WorkerLost: another worker is gone.
    """
    size, file, offer = count * torch.float32.itemsize, None, b""
    try:
        if not workers.rank:
            file, offer = _make(size)
        offer = workers.share(offer)
        if workers.rank and offer:
            file = _open(offer, size)
        mapped = _map(file, size)
        others = workers.gather(torch.tensor([mapped is not None], dtype=torch.uint8, device=workers.device))
    finally:
        if file is not None:
            os.close(file)  # what is mapped stays
    return mapped if all(bool(each) for each in others) else None


def _make(size: int) -> tuple[int | None, bytes]:
    """Return a new file with a token behind its `size` bytes; and the token, with the place where others find it."""
    if sys.platform != "linux":
        return None, b""
    token, file = secrets.token_bytes(_TOKEN_BYTES), None
    try:
        file = os.memfd_create("pneumonia-gradients")
        os.posix_fallocate(file, 0, size + len(token))  # now, since a write would end in SIGBUS where memory is short
        os.pwrite(file, token, size)
    except OSError as error:  # no memory, or a sandbox that has no such files
        log.warning("no memory to share (%s): gradients go over the network", error.strerror)
        if file is not None:
            os.close(file)
        return None, b""
    return file, token + f"/proc/{os.getpid()}/fd/{file}".encode()


def _open(offer: bytes, size: int) -> int | None:
    """Return worker 0's file, or None where its place is not there, or holds something else: on another machine."""
    token, path = offer[:_TOKEN_BYTES], offer[_TOKEN_BYTES:].decode()
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        if os.pread(file, len(token), size) == token:
            return file
    except OSError:  # not a file that can be read at a place, such as a pipe
        pass
    os.close(file)
    return None


def _map(file: int | None, size: int) -> Tensor | None:
    """Return the file's bytes as float32, or None where there is no file, or no room in the address space."""
    if file is None:
        return None
    try:
        return torch.frombuffer(mmap.mmap(file, size), dtype=torch.float32)
    except OSError as error:
        log.warning("memory cannot be shared (%s): gradients go over the network", error.strerror)
        return None
