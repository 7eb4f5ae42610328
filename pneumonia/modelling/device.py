"""What this machine computes with: device, precision, threads."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from pneumonia.config.schema import TrainConfig
from pneumonia.errors import DataError


def pick_device(train: TrainConfig) -> torch.device:
    """Return the device to train on.

    Raises:
        DataError: CUDA is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if train.device == "cuda" and not available:
        raise DataError("train.device=cuda: torch sees no CUDA device; set train.device=auto or cpu")
    return torch.device("cuda" if available and train.device != "cpu" else "cpu")


def pick_precision(train: TrainConfig, device: torch.device) -> str:
    """Return ``bf16`` or ``fp32``; auto takes bf16 where it is computed natively, since emulation is slower."""
    if train.precision != "auto":
        return train.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def autocast(device: torch.device, precision: str) -> Any:
    """Return the context in which the network computes in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt, from malloc.h


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the process keep freed memory inside the context, to use it again; given back at its end.

    glibc returns blocks from 32 MB to the kernel as soon as they are free, and a training step would have them zeroed
    page by page again. Where the C library has no such setting nothing changes.
    """
    library: Any = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, 1 << 30)
    library.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        # where glibc's own adaptation stops at the highest
        library.mallopt(_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(_TRIM_THRESHOLD, 64 << 20)
        library.malloc_trim(0)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute with `count` CPU threads inside the context; 0 leaves the number as it is."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
