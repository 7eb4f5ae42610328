"""The constant channel of the first convolution is folded, and the graph computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper

from pneumonia.inference.engine import Engine
from pneumonia.modelling import export
from pneumonia.modelling.constant_channel import ADDED, fold_constant_channel
from pneumonia.modelling.network import build_network
from tests.support.exports import SIZE, phantoms


def test_the_first_convolution_reads_the_image_alone(tmp_path: Path) -> None:
    network: Any = build_network("resnet18", "none", seed=1).eval()
    with torch.no_grad():  # a batch norm that does something
        for values in (network.bn1.weight, network.bn1.bias, network.bn1.running_mean, network.bn1.running_var):
            values.copy_(torch.linspace(0.2, 1.4, len(values)))
    export.export_fp32(network, SIZE, tmp_path / "graph.onnx")
    graph = onnx.load(str(tmp_path / "graph.onnx")).graph
    tensors = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "Conv")
    assert tensors[first.input[1]].shape == (64, 1, 7, 7)
    assert tensors[f"{ADDED}_map"].shape == (1, 64, SIZE // 2, SIZE // 2)
    assert not {"Concat", "Expand", "Shape"} & {node.op_type for node in graph.node}
    pixels = phantoms(2, 3).pixels
    engine = Engine(tmp_path / "graph.onnx", SIZE, threads=1)
    for image, expected in zip(pixels, export.logits(network, pixels), strict=True):
        assert engine.run(image).logits == pytest.approx(expected, abs=1e-4)


def test_a_graph_without_such_a_channel_stays_as_it_is(tmp_path: Path) -> None:
    graph = tmp_path / "graph.onnx"
    export.export_fp32(build_network("tiny", "none", seed=1), SIZE, graph)
    before = graph.read_bytes()
    assert not fold_constant_channel(graph, SIZE)
    assert graph.read_bytes() == before
