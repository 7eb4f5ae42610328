"""Serving, evaluation and training compute the same of real radiographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pneumonia.config.schema import Config, PreprocessConfig
from pneumonia.config.service import ServingConfig
from pneumonia.imaging.radiograph import UnreadableRadiograph, read
from pneumonia.inference.predictor import Predictor
from pneumonia.modelling.network import build_network, load_model
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.modelling.weights import LAST_LAYER, save_weights, state_digest
from tests.support.trained import record_of

ORIGINALS = 271
PREPROCESS = PreprocessConfig(equalize=True)


@pytest.mark.real
@pytest.mark.integration
@pytest.mark.long
@pytest.mark.parametrize("flip_tta", [False, True])
def test_the_served_graph_answers_as_the_network(shared: Path, tmp_path: Path, flip_tta: bool) -> None:
    """Transferred weights with a steep last layer, so that probabilities spread over 0 to 1."""
    network = build_network("resnet18", str(shared / "weights/resnet18-imagenet-partial.pt"), seed=0)
    state = network.state_dict()
    state[LAST_LAYER[0]] *= 30
    originals = sorted((shared / "originals" / "chest_xray").rglob("*.jpeg"))
    some = np.stack([read(file, PREPROCESS).pixels for file in originals[::40]])
    with torch.no_grad():  # about as likely as not
        state[LAST_LAYER[1]] -= network.eval()(torch.from_numpy(some).float() / 255).mean(0)
    record = record_of("pneumonia-resnet18", state_digest(state)).model_copy(
        update={"architecture": "resnet18", "flip_tta": flip_tta, "preprocess": PREPROCESS}
    )
    weights = tmp_path / "model.safetensors"
    save_weights(weights, state, record)
    config = Config(work=str(tmp_path / "work"), serving=ServingConfig(precision="fp32", check_input=False))
    served = Predictor.load(str(weights), config)
    assert len(originals) == ORIGINALS
    files = [*(originals[::6] if flip_tta else originals), *sorted((shared / "dicom").rglob("*.dcm"))]
    results = served.score(files)
    pixels, found = [], []
    for file, result in zip(files, results, strict=True):
        try:
            pixels.append(read(file, record.preprocess).pixels)
            found.append(result["probability"])
        except UnreadableRadiograph:
            assert result["refused"]
    loaded, _ = load_model(weights)
    with torch.inference_mode():
        expected = predict_probabilities(loaded, np.stack(pixels), np.arange(len(pixels)))
    assert np.array(found) == pytest.approx(expected, abs=1e-4)
    assert np.ptp(expected) > 0.2
    evaluated = served._read_then_score(files, lambda *_: None, lambda _: None, None)
    assert [each.get("probability") for each in evaluated] == [each.get("probability") for each in results]
