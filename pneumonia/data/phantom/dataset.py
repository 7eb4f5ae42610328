"""Generate folders of synthetic chest radiographs (phantoms), for tests and for runs without real data.

They are laid out, named and encoded like the published set, and the JPEG comment of every file declares it a phantom.
`pneumonia.data.phantom.anatomy` draws them; for a contact sheet:
``python -m pneumonia.data.phantom.dataset --sheet FILE.png``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.schema import CLASSES, PhantomConfig
from pneumonia.data.phantom import anatomy
from pneumonia.data.phantom.planted_shortcuts import plant
from pneumonia.errors import DataError
from pneumonia.files import atomic_folder
from pneumonia.imaging.refusal import PHANTOM_COMMENT
from pneumonia.progress import Progress, silent
from pneumonia.source_digest import source_digest
from pneumonia.timing import timed

QUALITY = 90
POOL_FROM = 256
"""Number of images from which a process pool saves more time than its start takes."""
_CHUNK = 32
_PNEUMONIA = CLASSES.index("PNEUMONIA")


@dataclass(frozen=True)
class _PlannedImage:
    """One file to write; `patient` and `index` count through the whole folder."""

    path: str
    label: int
    patient: int
    index: int


def render(label: int, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Draw one patient, and one image of the patient.

    Args:
        label: index into `CLASSES`; 1 draws opacities into the lungs.
        rng: draws everything else.
        size: side in pixels, at least 32.

    Returns:
        uint8 [size, size], 0 black.
    """
    return anatomy.draw_image(anatomy.Anatomy.draw(rng), label == _PNEUMONIA, rng, size)


def folder_of(work: Path, config: PhantomConfig) -> Path:
    """Return the folder of the work folder for these phantoms, named by the digest of all that they depend on.

    Images of another seed have the same paths, so that one folder for both would exchange them below a running step.
    """
    digest = hashlib.sha256(json.dumps(_record(config), sort_keys=True).encode()).hexdigest()
    return work / "phantoms" / digest[:16]


def _record(config: PhantomConfig) -> dict[str, Any]:
    return {"code": source_digest("pneumonia.data.phantom.dataset"), "quality": QUALITY, **config.model_dump()}


@timed("drawing phantoms")
def generate(root: Path, config: PhantomConfig, progress: Progress = silent) -> Path:
    """Write ``root/chest_xray/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg``, unless it is complete already.

    An image depends only on the seed and its position in the folder, so that on one machine equal configurations give
    equal bytes for any number of processes. The folder is written atomically.

    Args:
        root: folder that is created where it is missing.
        config: number, size and seed of the phantoms.
        progress: called with (images written, images in all).

    Returns:
        ``root/chest_xray``.

    Raises:
        DataError: the folder cannot be written, or exists and is not a folder of phantoms.
    """
    target = root / "chest_xray"
    record = _record(config)
    if _complete(target, record):
        return target
    with atomic_folder(target) as folder:
        _draw_all(folder, config, progress)
        (folder / "phantom.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)  # phantoms of another configuration
    return target


def _complete(target: Path, record: dict[str, Any]) -> bool:
    if not target.exists():
        return False
    try:
        found = json.loads((target / "phantom.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            f"{target}: exists and has no readable phantom.json, so it is not a folder of phantoms; "
            "name another folder or move this one away"
        ) from None
    return bool(found == record)


def _plan(config: PhantomConfig) -> list[_PlannedImage]:
    """Plan every image of the folder; one patient in six has two, and no patient is in both folders."""
    images: list[_PlannedImage] = []
    patient = 0
    for folder, number in (("train", config.train), ("test", config.test)):
        for label, name in enumerate(CLASSES):
            left = number // 2 + (number % 2 if label == _PNEUMONIA else 0)
            while left:
                patient += 1
                count = min(left, 2 if patient % 6 == 0 else 1)
                for image in range(1, count + 1):
                    path = f"{folder}/{name}/{_file_name(label, patient, image, len(images) + 1)}"
                    images.append(_PlannedImage(path, label, patient, len(images)))
                left -= count
    return images


def _file_name(label: int, patient: int, image: int, serial: int) -> str:
    if label != _PNEUMONIA:
        return f"IM-{patient:04d}-{image:04d}.jpeg"
    return f"person{patient}_{'bacteria' if patient % 3 else 'virus'}_{serial}.jpeg"


def _draw_all(folder: Path, config: PhantomConfig, progress: Progress) -> None:
    images = _plan(config)
    for path in sorted({(folder / image.path).parent for image in images}):
        path.mkdir(parents=True)
    jobs = [(folder, images[at : at + _CHUNK], config) for at in range(0, len(images), _CHUNK)]
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    done = 0
    progress(done, len(images))
    if len(images) < POOL_FROM or workers == 1:
        for job in jobs:
            done += _draw(*job)
            progress(done, len(images))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for number in pool.map(_draw, *zip(*jobs, strict=True)):
            done += number
            progress(done, len(images))


def _draw(folder: Path, images: Sequence[_PlannedImage], config: PhantomConfig) -> int:
    for image in images:
        positive = image.label == _PNEUMONIA
        body = anatomy.Anatomy.draw(np.random.default_rng([config.seed, 0, image.patient]))
        rng = np.random.default_rng([config.seed, 1, image.index])
        pixels = anatomy.draw_image(body, positive and config.opacities, rng, config.size)
        pixels, quality = plant(pixels, config.shortcut if positive else "none", QUALITY)
        Image.fromarray(pixels).save(folder / image.path, "JPEG", quality=quality, comment=PHANTOM_COMMENT)
    return len(images)


def sheet(path: Path, columns: int = 6, size: int = 200, seed: int = 2) -> None:
    """Save a contact sheet as a grey PNG: the upper row NORMAL, the lower row PNEUMONIA."""
    rows = [
        np.hstack([render(label, np.random.default_rng([seed, label, at]), size) for at in range(columns)])
        for label in range(len(CLASSES))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    # 64 grey levels halve the file, without a visible difference at this size.
    Image.fromarray(np.vstack(rows) & 0xFC).save(path, optimize=True)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Save a contact sheet of phantoms.")
    parser.add_argument("--sheet", type=Path, required=True, metavar="FILE.png")
    sheet(parser.parse_args().sheet)


if __name__ == "__main__":
    _main()
