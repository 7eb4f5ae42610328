"""The engine's place in a process: signals, threads, cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.errors import DataError
from pneumonia.inference.engine import Engine, cores
from pneumonia.modelling import export
from pneumonia.modelling.network import build_network
from tests.support.exports import SIZE, phantoms

ROOT = Path(__file__).parents[2]
SIGNALLED = """
import os, signal, sys, threading
from pathlib import Path
from pneumonia.inference.engine import Engine
from tests.support.exports import SIZE, phantoms
pixels = phantoms(2, 1).pixels
engines = [Engine(Path(sys.argv[1]), SIZE, threads=1)]
engines[0].run(pixels[0])
def replace():
    engines.clear()
    engine = Engine(Path(sys.argv[1]), SIZE, threads=1)
    engine.run(pixels[1])
thread = threading.Thread(target=replace)
thread.start()
thread.join()
caught = []
signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
os.kill(os.getpid(), signal.SIGTERM)
print(len(caught))
"""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    export.export_fp32(build_network("tiny", "none", seed=1).eval(), SIZE, tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


@pytest.mark.integration
def test_a_signal_is_handled_after_a_model_was_replaced_in_another_thread(graph: Path) -> None:
    """OpenVINO frees the stack that it gave to signals of the first thread with its last core."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(graph)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(DataError, match="not an exported model"):
        Engine(tmp_path / "graph.onnx", SIZE)


def test_the_number_of_threads_is_that_of_the_cores(graph: Path) -> None:
    assert Engine(graph, SIZE).threads == cores() >= 1
    assert Engine(graph, SIZE, threads=3).run(phantoms(2, 1).pixels[0]).logits.shape == (2,)


def test_no_thread_is_pinned_to_a_core(graph: Path) -> None:
    """Otherwise the engines of two processes would take the same core, and leave the others idle."""
    assert Engine(graph, SIZE, threads=1)._compiled.get_property("ENABLE_CPU_PINNING") is False
