"""Fold the constant input channel of an exported graph into a map that is added behind its first convolution.

ResNet18 for grey images has a second channel of ones (`architectures.resnet18`). What the first convolution makes of it
is the same for all images of a size: as a constant, it saves half of that convolution, and making the channel.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

ADDED = "constant_channel"
"""Name of the node that adds the map."""


def fold_constant_channel(path: Path, size: int) -> bool:
    """Rewrite a graph in place, and return whether there is such a channel.

    Args:
        path: ONNX file; its first convolution has a bias, with the batch norm that was behind it.
        size: side of the input in pixels; the graph takes no other afterwards.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    graph = model.graph
    tensors = {entry.name: entry for entry in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "Conv")
    found = _with_ones(first, graph)
    if found is None:
        return False
    channels_last, pair = found
    settings = {each.name: helper.get_attribute_value(each) for each in first.attribute}
    weight, bias = (torch.from_numpy(numpy_helper.to_array(tensors[name]).copy()) for name in first.input[1:])
    added = F.conv2d(torch.ones((1, 1, size, size)), weight[:, 1:], bias, settings["strides"], settings["pads"][:2])
    for name, tensor in ((f"{ADDED}_weight", weight[:, :1].contiguous()), (f"{ADDED}_map", added)):
        graph.initializer.append(numpy_helper.from_array(tensor.numpy(), name))
    add = helper.make_node("Add", [f"{ADDED}_input", f"{ADDED}_map"], list(first.output), ADDED)
    graph.node.insert(list(graph.node).index(first) + 1, add)
    channels_last.input[0] = pair.input[0]
    first.input[1:] = [f"{ADDED}_weight"]
    first.output[0] = f"{ADDED}_input"
    _remove_unused(graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return True


def _with_ones(first: NodeProto, graph: GraphProto) -> tuple[NodeProto, NodeProto] | None:
    """Return the nodes that transpose, and that join, the image and a channel of ones; None where it is otherwise."""
    made_by = {output: node for node in graph.node for output in node.output}

    def behind(node: NodeProto | None, kind: str, at: int = 0) -> NodeProto | None:
        before = None if node is None else made_by.get(node.input[at])
        return before if before is not None and before.op_type == kind else None

    channels_last = behind(first, "Transpose")
    pair = behind(channels_last, "Concat")
    constant = behind(behind(pair, "Unsqueeze", 1), "ConstantOfShape")
    if channels_last is None or pair is None or constant is None:
        return None
    from onnx import helper, numpy_helper

    value = next((helper.get_attribute_value(each) for each in constant.attribute if each.name == "value"), None)
    is_one = value is not None and bool((numpy_helper.to_array(value) == 1).all())
    return (channels_last, pair) if is_one else None


def _remove_unused(graph: GraphProto) -> None:
    """Remove nodes and tensors that nothing uses, and what was noted of the shapes in between."""
    del graph.value_info[:]
    while True:
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        unused = [node for node in graph.node if not used & set(node.output)]
        for node in unused:
            graph.node.remove(node)
        if not unused:
            break
    for entry in [entry for entry in graph.initializer if entry.name not in used]:
        graph.initializer.remove(entry)
