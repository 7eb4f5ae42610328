"""The heat map equals Grad-CAM of the last layer, and is drawn so that equal steps look equal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.schema import PreprocessConfig
from pneumonia.config.service import ServingConfig
from pneumonia.inference import heat_map
from pneumonia.inference.engine import Outputs
from pneumonia.inference.explanation import SIDE, explain, show
from pneumonia.inference.input_check import Assessment
from pneumonia.inference.served_model import Answer, ServedModel
from tests.support.exports import export, phantoms, weights
from tests.support.images import picture, png


def outputs(feature_map: NDArray[np.float32]) -> Outputs:
    return Outputs(np.zeros(2, np.float32), feature_map, feature_map.mean((1, 2)))


def head(*positive: float) -> NDArray[np.float32]:
    return np.array([[0.0] * len(positive), positive], np.float32)


def test_the_map_is_the_weighted_feature_map_without_its_negative_part() -> None:
    features = np.zeros((2, 3, 3), np.float32)
    features[0, 0, 0], features[1, 2, 2] = 2, 5
    found = heat_map.activation_map(outputs(features), head(1, -1), 3)
    assert found[0, 0] == pytest.approx(1, abs=1e-6)
    assert found.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_where_nothing_speaks_for_pneumonia_the_map_is_empty(value: float) -> None:
    found = heat_map.activation_map(outputs(np.full((1, 4, 4), value, np.float32)), head(1), 32)
    assert not found.any()


def test_the_maps_range_does_not_depend_on_its_size_or_strength() -> None:
    features = np.random.default_rng(0).normal(size=(5, 7, 7)).astype(np.float32)
    maps = [heat_map.activation_map(outputs(features * k), head(1, 2, 3, 4, 5), 224) for k in (1, 100)]
    assert maps[0].shape == (224, 224)
    assert (maps[0].min(), maps[0].max()) == (0, pytest.approx(1, abs=1e-6))
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)


def test_the_colours_grow_evenly_lighter() -> None:
    colours = heat_map.colours()
    assert len({tuple(colour) for colour in colours.tolist()}) > 250
    unit = colours / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    lightness = np.where(luminance > (6 / 29) ** 3, 116 * np.cbrt(luminance) - 16, luminance * (29 / 3) ** 3)
    wanted = np.linspace(12, 92, 256)
    assert np.abs(lightness - wanted).max() < 8  # the darkest are not all within the screen's colours
    assert (np.diff(lightness[::8]) > 0).all()


def test_a_refused_answer_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="refused"):
        heat_map.draw(Answer(None, None, Assessment(code="unreadable")), head(1), "map")


@pytest.mark.parametrize(("height", "width"), [(90, 180), (180, 90), (40, 2000)])
def test_a_picture_keeps_its_shape(height: int, width: int) -> None:
    shown = Image.open(io.BytesIO(show(png(picture(0, height, width)))))
    assert max(shown.size) == SIDE
    assert shown.width / shown.height == pytest.approx(width / height, rel=0.05)


def reference(network: Any, pixels: NDArray[np.uint8], layer: Any) -> NDArray[np.float32]:
    """The map of pytorch-grad-cam for PNEUMONIA, float32 [S, S]."""
    import torch

    from pneumonia.modelling import _torchvision

    _torchvision.models()  # which also declares what an unmatched torchvision lacks
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class Grey(torch.nn.Module):
        """The network, of images with a channel, whose size the reference takes from the last two dimensions."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> Any:
            return self.network(images[:, 0])

    images = torch.from_numpy(pixels.astype(np.float32) / 255)[None, None]
    with GradCAM(model=Grey(), target_layers=[layer]) as cam:
        found: NDArray[np.float32] = cam(input_tensor=images, targets=[ClassifierOutputTarget(1)])[0]
    return found


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")
def test_the_map_is_that_of_a_reference_implementation(tmp_path: Path) -> None:
    from pneumonia.modelling.network import load_model

    export(tmp_path / "export", seed=3)
    network, record = load_model(weights(tmp_path / "model.safetensors", seed=3))
    layer = last_feature_layer(network)
    models = {
        precision: ServedModel(tmp_path / "export", "n", "1", ServingConfig(threads=1, precision=precision))
        for precision in ("fp32", "int8")
    }
    assert not record.flip_tta
    for pixels in phantoms(4, 9).pixels:
        wanted = reference(network, pixels, layer)
        size = record.preprocess.size
        maps = {name: heat_map.activation_map(model.run(pixels), model.head, size) for name, model in models.items()}
        assert wanted.max() > 0.9
        np.testing.assert_allclose(maps["fp32"], wanted, atol=1e-4)
        assert np.corrcoef(maps["int8"].ravel(), wanted.ravel())[0, 1] >= 0.98


def last_feature_layer(network: Any) -> Any:
    """The module whose output is the last feature map."""
    import torch

    seen: list[tuple[Any, Any]] = []
    handles = [
        module.register_forward_hook(lambda module, _, out: seen.append((module, out)))
        for module in network.modules()
        if module is not network
    ]
    with torch.no_grad():
        images = torch.rand(1, 64, 64)
        network(images)
        wanted = network.features(images)
    for handle in handles:
        handle.remove()
    return next(module for module, out in seen[::-1] if out.shape == wanted.shape and torch.equal(out, wanted))


@pytest.mark.integration
def test_an_explanation_is_drawn_finer_than_the_model_sees(tmp_path: Path) -> None:
    export(tmp_path / "export", seed=3)
    model = ServedModel(tmp_path / "export", "n", "1", ServingConfig(threads=1))
    content = png(np.asarray(Image.fromarray(phantoms(1, 3).pixels[0]).resize((200, 300))))
    answer = model.answer(content)
    for view in ("overlay", "map"):
        drawn = Image.open(io.BytesIO(explain(model, content, answer, view)))
        assert drawn.size == (512, SIDE)
        coarse = Image.open(io.BytesIO(heat_map.draw(answer, model.head, view)))
        assert max(coarse.size) == PreprocessConfig(size=64).size
