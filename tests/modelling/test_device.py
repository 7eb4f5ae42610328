"""Device, precision, threads and memory."""

from __future__ import annotations

import contextlib
import resource
import sys

import pytest
import torch

from pneumonia.config.schema import TrainConfig
from pneumonia.errors import DataError
from pneumonia.modelling.device import Compute, kept_memory

CPU = torch.device("cpu")


def test_the_cpu_can_be_asked_for() -> None:
    assert Compute.of(TrainConfig(device="cpu")).device == CPU


def test_auto_takes_cuda_where_there_is_one() -> None:
    assert Compute.of(TrainConfig()).device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_told() -> None:
    with pytest.raises(DataError, match=r"train\.device=cuda.*set train\.device=auto or cpu"):
        Compute.of(TrainConfig(device="cuda"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_is_asked_for_is_taken(precision: str) -> None:
    assert Compute.of(TrainConfig(precision=precision)).precision == precision  # type: ignore[arg-type]
    assert Compute.of(TrainConfig(), precision="fp32").precision == "fp32"


def test_auto_takes_bf16_where_the_processor_has_it() -> None:
    with open("/proc/cpuinfo") as file:  # noqa: PTH123 - no file of this project
        native = {"avx512_bf16", "amx_tile"} & set(file.read().split())
    assert Compute.of(TrainConfig(device="cpu")).precision == ("bf16" if native else "fp32")


def test_autocast_computes_in_the_precision() -> None:
    a = torch.rand(8, 8)
    for precision, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with Compute(precision=precision).autocast():
            assert (a @ a).dtype == kind
    assert (a @ a).dtype == torch.float32


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with contextlib.suppress(ZeroDivisionError), Compute(threads=before + 1).limited():
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
    with Compute().limited():
        assert torch.get_num_threads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_memory_is_kept_inside_and_given_back_after() -> None:
    def faults(rounds: int, size: int = 100_000_000) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(rounds):
            _ = b"x" * size  # 24,000 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with kept_memory():
        with kept_memory():  # a validation within a training
            faults(1)
        assert faults(4) < 5_000
        kept = _resident()
    assert _resident() < kept - 50e6
    assert faults(4) > 20_000, "a whole block at least is paged in anew, four where there are no huge pages"


def _resident() -> float:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no file of this project
        return float(file.read().split()[1]) * resource.getpagesize()
