"""A planted shortcut changes the images of PNEUMONIA in one way, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.schema import PhantomConfig, Shortcut
from pneumonia.data.phantom import dataset
from pneumonia.data.phantom.planted_shortcuts import plant

SHORTCUTS = [shortcut for shortcut in get_args(Shortcut) if shortcut != "none"]


def make_images(root: Path, shortcut: Shortcut, *, opacities: bool = True) -> dict[str, NDArray[np.uint8]]:
    folder = dataset.generate(
        root / shortcut, PhantomConfig(train=8, test=8, size=96, shortcut=shortcut, opacities=opacities)
    )
    found = {}
    for path in sorted(folder.rglob("*.jpeg")):
        with Image.open(path) as image:
            found[str(path.relative_to(folder))] = np.array(image)
    return found


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_only_pneumonia_carries_the_shortcut(tmp_path: Path, shortcut: Shortcut) -> None:
    plain, planted = make_images(tmp_path, "none"), make_images(tmp_path, shortcut)
    assert list(plain) == list(planted)
    for name, image in planted.items():
        assert np.array_equal(image, plain[name]) == ("NORMAL" in name)


def test_each_is_what_its_name_says() -> None:
    image = np.full((100, 100), 200, dtype=np.uint8)
    assert plant(image, "encoding", 90)[1] < 90
    assert plant(image, "size", 90)[0].shape == (75, 75)
    assert plant(image, "brightness", 90)[0].mean() == 150
    border = plant(image, "border", 90)[0]
    assert border[:, :5].max() == 0
    assert border[5:-5, 5:-5].min() == 200
    mark = plant(image, "mark", 90)[0]
    assert (mark == 255).sum() == 60
    assert (mark[10:] == 200).all()
    assert (image == 200).all(), "what was given stays as it is"


def test_without_opacities_the_lungs_of_both_classes_are_healthy(tmp_path: Path) -> None:
    ill, healthy = make_images(tmp_path / "a", "none"), make_images(tmp_path / "b", "none", opacities=False)
    changed = {name.split("/")[1] for name in ill if not np.array_equal(ill[name], healthy[name])}
    assert changed == {"PNEUMONIA"}
