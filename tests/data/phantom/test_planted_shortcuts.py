"""A planted cue changes the films of PNEUMONIA in one way, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.schema import Cue, PhantomConfig
from pneumonia.data.phantom import dataset
from pneumonia.data.phantom.planted_shortcuts import plant

CUES = [cue for cue in get_args(Cue) if cue != "none"]


def films(root: Path, cue: Cue, *, opacities: bool = True) -> dict[str, NDArray[np.uint8]]:
    folder = dataset.generate(root / cue, PhantomConfig(train=8, test=8, size=96, cue=cue, opacities=opacities))
    found = {}
    for path in sorted(folder.rglob("*.jpeg")):
        with Image.open(path) as film:
            found[str(path.relative_to(folder))] = np.array(film)
    return found


@pytest.mark.parametrize("cue", CUES)
def test_only_pneumonia_carries_the_cue(tmp_path: Path, cue: Cue) -> None:
    plain, planted = films(tmp_path, "none"), films(tmp_path, cue)
    assert list(plain) == list(planted)
    for name, film in planted.items():
        assert np.array_equal(film, plain[name]) == ("NORMAL" in name)


def test_each_is_what_its_name_says() -> None:
    film = np.full((100, 100), 200, dtype=np.uint8)
    assert plant(film, "encoding", 90)[1] < 90
    assert plant(film, "size", 90)[0].shape == (75, 75)
    assert plant(film, "brightness", 90)[0].mean() == 150
    border = plant(film, "border", 90)[0]
    assert border[:, :5].max() == 0
    assert border[5:-5, 5:-5].min() == 200
    mark = plant(film, "mark", 90)[0]
    assert (mark == 255).sum() == 60
    assert (mark[10:] == 200).all()
    assert (film == 200).all(), "what was given stays as it is"


def test_without_opacities_the_lungs_of_both_classes_are_healthy(tmp_path: Path) -> None:
    ill, healthy = films(tmp_path / "a", "none"), films(tmp_path / "b", "none", opacities=False)
    changed = {name.split("/")[1] for name in ill if not np.array_equal(ill[name], healthy[name])}
    assert changed == {"PNEUMONIA"}
