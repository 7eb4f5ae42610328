"""Choose what to compute with: device, precision, threads."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumonia.config.schema import TrainConfig
from pneumonia.errors import DataError


@dataclass(frozen=True)
class Compute:
    """The device, precision and threads that a network is computed with.

    Attributes:
        device: CPU or CUDA.
        precision: ``fp32`` or ``bf16``.
        threads: CPU threads; 0 leaves the number as it is.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    threads: int = 0

    @classmethod
    def of(cls, train: TrainConfig, precision: str | None = None) -> Self:
        """Return what the configuration specifies; `precision` overrides its own.

        Raises:
            DataError: CUDA is configured and not available.
        """
        device = _device(train)
        return cls(device, precision or _precision(train, device), train.threads)

    def describe(self) -> str:
        """Return what the last bits of a training depend on: device, precision, and on a CPU the threads."""
        if self.device.type == "cuda":
            return f"{torch.cuda.get_device_name(self.device)}, {self.precision}"
        threads = self.threads or torch.get_num_threads()
        return f"CPU with {torch.backends.cpu.get_cpu_capability()}, {self.precision}, {threads} threads"

    def autocast(self) -> Any:
        """Return the context in which the network computes in this precision."""
        bf16 = self.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if bf16 else nullcontext()

    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Copy uint8 [B, H, W] to the device, as float in 0..1."""
        return copied(torch.from_numpy(pixels), self.device).float().div_(255)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Set this number of CPU threads inside the context, and on a GPU what repeatable results need."""
        before = torch.get_num_threads()
        if self.threads:
            torch.set_num_threads(self.threads)
        try:
            with _repeatable() if self.device.type == "cuda" else nullcontext():
                yield
        finally:
            torch.set_num_threads(before)


CPU = Compute()


def copied(values: Tensor, device: torch.device) -> Tensor:
    """Copy values of the CPU to a device; to a GPU from pinned memory, so that nobody waits for the copy."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Ask a GPU for float32 that is float32, and for algorithms that give the same bits each time.

    TF32 keeps 10 of the 23 bits of a product. An operation without a deterministic algorithm warns of itself.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's own condition; read when it is first used
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    mode = torch.get_deterministic_debug_mode()
    cudnn.allow_tf32 = matmul.allow_tf32 = cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before
        torch.set_deterministic_debug_mode(mode)


def cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(train: TrainConfig) -> torch.device:
    available = torch.cuda.is_available()
    if train.device == "cuda" and not available:
        raise DataError("train.device=cuda: torch sees no CUDA device; set train.device=auto or cpu")
    return torch.device("cuda" if available and train.device != "cpu" else "cpu")


def _precision(train: TrainConfig, device: torch.device) -> str:
    """Return ``bf16`` or ``fp32``; auto takes bf16 where it is computed natively, since emulation is slower."""
    if train.precision != "auto":
        return train.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt, from malloc.h
_keeping, _keepers = threading.Lock(), 0


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory in the process inside the context, for reuse; return it to the kernel at the end.

    By default glibc returns free blocks from 32 MB on to the kernel at once, and each step of a training or a scoring
    has them zeroed page by page again. Of nested contexts, and of those of several threads, the last one returns the
    memory. Without effect where the C library has no such setting.
    """
    global _keepers
    library: Any = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    with _keeping:
        _keepers += 1
        library.mallopt(_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        with _keeping:
            _keepers -= 1
            if not _keepers:
                # the maxima of glibc's own adaptation
                library.mallopt(_MMAP_THRESHOLD, 32 << 20)
                library.mallopt(_TRIM_THRESHOLD, 64 << 20)
                library.malloc_trim(0)
