"""An archive of phantoms in folders of studies, one file of which is broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pneumonia.data.phantom.dataset import render


def make_archive(folder: Path, count: int) -> Path:
    """Write so many phantoms, and one file that cannot be read."""
    for at in range(count):
        place = folder / f"study {at % 7}" / f"image {at}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render(at % 2, np.random.default_rng(at), 64)).save(place)
    (folder / "study 3" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand then nothing")
    return folder
