"""The exported graphs compute what the network computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumonia.inference.engine import Engine
from pneumonia.modelling import export
from pneumonia.modelling.network import FlipAveraged, build_network
from tests.support.exports import SIZE, phantoms

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("flip_tta", [False, True])
@pytest.mark.parametrize("architecture", ["tiny", "resnet18"])
def test_float32_is_the_network(architecture: str, flip_tta: bool, tmp_path: Path) -> None:
    network = build_network(architecture, "none", seed=1).eval()
    used = FlipAveraged(network) if flip_tta else network
    export.export_fp32(used, SIZE, tmp_path / "graph.onnx")
    engine = Engine(tmp_path / "graph.onnx", SIZE, threads=1)
    pixels = phantoms(4, 3).pixels
    found = [engine.run(image) for image in pixels]
    assert np.stack([each.logits for each in found]) == pytest.approx(export.logits(used, pixels), abs=1e-4)
    images = torch.from_numpy(pixels).float() / 255
    with torch.no_grad():
        features = network.features(images)  # type: ignore[operator]
        if flip_tta:
            features = (features + network.features(images.flip(-1)).flip(-1)) / 2  # type: ignore[operator]
    for each, expected in zip(found, features.numpy(), strict=True):
        assert each.feature_map == pytest.approx(expected, abs=1e-4)
        assert each.embedding == pytest.approx(expected.mean((1, 2)), abs=1e-4)
        odds = float(each.logits[1] - each.logits[0])
        assert each.probability == pytest.approx(1 / (1 + np.exp(-odds)))


def test_a_batch_of_any_size_is_computed(tmp_path: Path) -> None:
    """The graph is not bound to one image, for those who run it elsewhere."""
    from onnxruntime import InferenceSession

    network = FlipAveraged(build_network("tiny", "none", seed=1).eval())
    export.export_fp32(network, SIZE, tmp_path / "graph.onnx")
    session = InferenceSession(str(tmp_path / "graph.onnx"), providers=["CPUExecutionProvider"])
    pixels = phantoms(5, 3).pixels
    together = session.run(["logits"], {"pixels": pixels})[0]
    assert together == pytest.approx(export.logits(network, pixels), abs=1e-4)


COMPUTE = """
import json, sys
from pathlib import Path
from pneumonia.inference.engine import Engine
from tests.support.exports import SIZE, phantoms
engine = Engine(Path(sys.argv[1]), SIZE, threads=1)
print(json.dumps([engine.run(image).logits.tolist() for image in phantoms(6, 5).pixels]))
"""


@pytest.mark.integration
@pytest.mark.long
def test_int8_is_the_same_on_processors_without_vnni(tmp_path: Path) -> None:
    """Without VNNI, pairs of products are added in 16 bits, which 8-bit weights would saturate."""
    network = build_network("resnet18", "none", seed=1).eval()
    with torch.no_grad():  # so that sums are large where all weights of a channel are
        for name, weight in network.named_parameters():
            if name.endswith("conv2.weight"):
                weight.copy_(weight.abs())
    export.export_fp32(network, SIZE, tmp_path / "fp32.onnx")
    export.export_int8(tmp_path / "fp32.onnx", phantoms(16, 4).pixels, tmp_path / "int8.onnx")
    found = []
    for isa in ("DEFAULT", "AVX2"):
        done = subprocess.run(
            [sys.executable, "-c", COMPUTE, str(tmp_path / "int8.onnx")],
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(np.array(json.loads(done.stdout)))
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert np.ptp(found[0][:, 1] - found[0][:, 0]) > 0


def test_the_last_layer_takes_back_what_int8_shifts(tmp_path: Path) -> None:
    network = build_network("resnet18", "none", seed=2).eval()
    pixels = phantoms(32, 6).pixels
    export.export_fp32(network, SIZE, tmp_path / "fp32.onnx")
    export.export_int8(tmp_path / "fp32.onnx", pixels, tmp_path / "int8.onnx")
    margins = [export._log_odds(tmp_path / name, pixels) for name in ("fp32.onnx", "int8.onnx")]
    assert margins[0].mean() == pytest.approx(margins[1].mean(), abs=1e-4)
