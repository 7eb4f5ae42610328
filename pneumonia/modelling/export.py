"""Export a network as ONNX graphs: float32, and int8 by static quantisation.

A graph takes uint8 pixels [N, S, S], as `pneumonia.imaging.radiograph` delivers them, and has three outputs: logits
[N, classes], with the calibration, because that is in the last layer; the last feature map [N, C, H, W]; and its mean,
the embedding [N, C]. The networks end in a global average and one linear layer, so that the feature map, weighted by
that layer, is the Grad-CAM of the last layer (Selvaraju et al. 2017), without gradients.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumonia.modelling.constant_channel import ADDED, fold_constant_channel
from pneumonia.modelling.network import FlipAveraged
from pneumonia.records.export import INPUT, OUTPUTS
from pneumonia.timing import timed

OPSET = 18
"""Version of ONNX's operators."""
PACKAGES = ("torch", "onnx", "onnxruntime")
"""The packages whose versions are recorded with an export."""


class Served(nn.Module):
    """A network with the inputs and outputs of the exported graph.

    Where the record asks for it, the feature map is the mean of the image's and of the mirror image's, mirrored back:
    the last layer is linear, so that its logits are the mean of both logits.
    """

    def __init__(self, network: nn.Module, *, flip_tta: bool) -> None:
        super().__init__()
        self.network = network
        self.flip_tta = flip_tta

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, feature map and embedding of pixels uint8 [N, S, S]."""
        images = pixels.float() / 255
        count = images.shape[0]
        if self.flip_tta:
            both = self.network.features(torch.cat((images, images.flip(-1))))  # type: ignore[operator]
            features = (both[:count] + both[count:].flip(-1)) / 2
        else:
            features = self.network.features(images)  # type: ignore[operator]
        embedding = features.mean((2, 3))
        return self.network.fc(embedding), features, embedding  # type: ignore[operator]


@timed("float32 graph")
def export_fp32(network: nn.Module, size: int, path: Path) -> None:
    """Write the float32 graph of a network, of any batch size.

    Args:
        network: of `pneumonia.modelling.network.assemble_network`; not changed.
        size: side of the input in pixels.
        path: of the ONNX file.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    flip_tta = isinstance(network, FlipAveraged)
    inner = copy.deepcopy(network.network if isinstance(network, FlipAveraged) else network)
    inner.to("cpu", torch.float32).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    served = Served(inner, flip_tta=flip_tta).eval()
    raw = path.with_suffix(".raw")
    with _quietly():
        torch.onnx.export(
            served,
            (torch.zeros((3, size, size), dtype=torch.uint8),),
            str(raw),
            dynamo=False,  # a tenth of the time of the other exporter, and one package less
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "images"} for name in (INPUT, *OUTPUTS)},
            opset_version=OPSET,
        )
        # folds constants and batch norms, with operators of the standard alone
        quant_pre_process(str(raw), str(path), skip_symbolic_shape=True)
        fold_constant_channel(path, size)
    raw.unlink()


@timed("int8 graph")
def export_int8(fp32: Path, pixels: NDArray[np.uint8], path: Path) -> None:
    """Write the int8 graph of a float32 graph: static quantisation of its convolutions.

    Weights take 7 of the 8 bits, by channel. Processors without VNNI add pairs of products in 16 bits, which 8-bit
    weights would saturate (ONNX Runtime's documentation of quantisation, "reduce_range"); so every processor computes
    the same graph. What the missing bit costs is a shift of the logits, nearly the same for all images, which the last
    layer takes back: a line is fitted through both graphs' log odds of the same images. The first convolution stays in
    float32: it takes little of the time, and half of the labels that differed did so because of it.

    Args:
        fp32: of `export_fp32`.
        pixels: uint8 [N, S, S], training images that the ranges are taken from.
        path: of the ONNX file.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = iter(pixels)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            image = next(self.images, None)
            return None if image is None else {INPUT: image[None]}

    import onnx

    first = next(node.name for node in onnx.load(str(fp32)).graph.node if node.op_type == "Conv")
    with _quietly():
        quantize_static(
            str(fp32),
            str(path),
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=["Conv", "Add", "MaxPool"],
            nodes_to_exclude=[first, ADDED],
            calibrate_method=CalibrationMethod.MinMax,
        )
        _correct(path, _log_odds(path, pixels), _log_odds(fp32, pixels))


def _log_odds(graph: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    from onnxruntime import InferenceSession

    session = InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run([OUTPUTS[0]], {INPUT: image[None]})[0] for image in pixels]).astype(np.float64)
    margins: NDArray[np.float64] = found[:, 1] - found[:, 0]
    return margins


def _correct(graph: Path, found: NDArray[np.float64], wanted: NDArray[np.float64]) -> None:
    """Change the last layer of a graph so that the log odds `found` become those `wanted`, by least squares."""
    import onnx
    from onnx import numpy_helper

    spread = float(found.var())
    slope = float(np.cov(found, wanted, bias=True)[0, 1]) / spread if spread > 0 else 1.0
    shift = float(wanted.mean() - slope * found.mean())
    model = onnx.load(str(graph))
    last = next(node for node in model.graph.node if OUTPUTS[0] in node.output)
    for entry in model.graph.initializer:
        if entry.name in last.input[1:]:
            values = numpy_helper.to_array(entry) * np.float32(slope)
            if entry.name == last.input[2]:
                values = values + np.array([-shift / 2, shift / 2], np.float32)
            entry.CopyFrom(numpy_helper.from_array(values.astype(np.float32), entry.name))
    onnx.save(model, str(graph))


@timed("the network on images")
@torch.inference_mode()
def logits(network: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the network's own logits of images one by one, float32 [N, classes]."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255
    return torch.cat([network(image[None]) for image in images]).numpy()


def last_layer(network: nn.Module) -> NDArray[np.float32]:
    """Return the weights of the last layer, float32 [classes, C]: those of the class activation map."""
    inner: Any = network.network if isinstance(network, FlipAveraged) else network
    weights: NDArray[np.float32] = inner.fc.weight.detach().numpy().astype(np.float32)
    return weights


def software() -> dict[str, str]:
    """Return the versions of the packages that export, without a build's local part."""
    return {name: version(name).partition("+")[0] for name in PACKAGES}


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence what the exporter and the quantiser say about their own code."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
