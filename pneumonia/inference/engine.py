"""Run an exported graph on the processor, from several threads.

OpenVINO, which `benchmarks/engines.py` measures against ONNX Runtime. One image is computed by one thread: on a
processor, larger batches gain a few percent, and several images at a time use all of its cores as well.
"""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.errors import DataError
from pneumonia.records.export import OUTPUTS


@dataclass(frozen=True)
class Outputs:
    """What a graph computes of one image.

    Attributes:
        logits: float32 [classes].
        feature_map: float32 [C, H, W].
        embedding: float32 [C].
    """

    logits: NDArray[np.float32]
    feature_map: NDArray[np.float32]
    embedding: NDArray[np.float32]

    @property
    def margin(self) -> float:
        """The logit of PNEUMONIA less that of NORMAL."""
        return float(self.logits[1]) - float(self.logits[0])

    @property
    def probability(self) -> float:
        """The probability of PNEUMONIA, 0 to 1: the softmax of two logits."""
        margin = self.margin
        return float(1 / (1 + np.exp(-margin))) if margin > 0 else float(np.exp(margin) / (1 + np.exp(margin)))


class Engine:
    """A compiled graph; `run` may be called by several threads at a time.

    Attributes:
        size: side of the input in pixels.
        threads: images that are computed at a time.
    """

    def __init__(self, graph: Path, size: int, threads: int = 0) -> None:
        """Compile a graph.

        Args:
            graph: ONNX file of `pneumonia.modelling.export`.
            size: side of the input in pixels.
            threads: images at a time, each on one core; 0: one per core that this process may use.

        Raises:
            DataError: the file is no graph of this form.
        """
        self.size = size
        self.threads = threads or cores()
        core = _core()
        try:
            model = core.read_model(graph)
            model.reshape([1, size, size])
            self._compiled = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_NUM_THREADS": self.threads,
                    "NUM_STREAMS": self.threads,
                    "ENABLE_CPU_PINNING": False,  # two processes would pin themselves to the same core
                    "INFERENCE_PRECISION_HINT": "f32",  # bf16 otherwise, where the processor has it
                    "EXECUTION_MODE_HINT": "ACCURACY",
                },
            )
            self._outputs = [self._compiled.output(name) for name in OUTPUTS]
        except RuntimeError as error:
            line = next(iter(str(error).strip().splitlines()), "")
            raise DataError(f"{graph}: not an exported model that can be run ({line}); export it again") from None
        self._local = threading.local()
        # The first call of a process imports numpy's interface into OpenVINO's bindings, without a lock that holds the
        # interpreter's: two threads whose first calls meet wait for each other for ever.
        self.run(np.zeros((size, size), np.uint8))

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Compute one image.

        Args:
            pixels: uint8 [S, S], preprocessed as the model's record says.
        """
        request: Any = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        found = request.infer([pixels[None]], share_inputs=True)
        return Outputs(*(np.array(found[output][0]) for output in self._outputs))


@functools.cache
def _core() -> Any:
    """Return OpenVINO's core, one for the process and for as long as it lives.

    The processor's plugin gives the thread that loads it another stack for signals, and frees that stack with the last
    core, in whichever thread that happens: the next signal to the first thread then ends the process.
    """
    import openvino

    return openvino.Core()


def cores() -> int:
    """Return the number of cores that this process may use: its affinity, and a container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, round(int(quota) / int(period))))
