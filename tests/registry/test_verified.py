"""The digest of a weights file, without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.errors import DataError
from pneumonia.modelling.network import build_network
from pneumonia.modelling.weights import save_weights, state_digest
from pneumonia.registry.verified import weights_digest
from tests.support.trained import record_of


@pytest.mark.parametrize("architecture", ["tiny", "resnet18"])
def test_the_digest_is_the_one_that_training_records(tmp_path: Path, architecture: str) -> None:
    state = build_network(architecture, "none", seed=3).state_dict()
    digest = state_digest(state)
    save_weights(tmp_path / "model.safetensors", state, record_of("name", digest))
    assert weights_digest(tmp_path / "model.safetensors") == digest


def test_what_holds_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no weights")
    for name in ("text", "missing"):
        with pytest.raises(DataError, match="weights cannot be read"):
            weights_digest(tmp_path / name)
