"""Compute every held-out image once through the served model, as it is and in each changed form, as arrays.

The changes are made on the file: its grey levels are decoded, changed, and saved as before, a JPEG with the tables that
it had, so that a change of exposure is no change of compression. Foreign pictures are those of
`benchmarks/foreign_pictures.py` that need no download.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.foreign_pictures import gather
from pneumonia.config.schema import ServingConfig
from pneumonia.data.manifest import Manifest
from pneumonia.data.patients import subtype
from pneumonia.imaging.image_statistics import STATISTICS, describe_images, measure
from pneumonia.inference.served_model import Answer, ServedModel
from pneumonia.monitoring.sample import FOREIGN, UNKNOWN, Sample

SPLITS = ("validation", "gate")
Change = Callable[[Image.Image, np.random.Generator], Image.Image]
Row = tuple[bool, bool, bool, float, NDArray[np.float32], NDArray[np.float32]]
ORIGINAL, PICTURES = "original", "pictures"


def _gamma(image: Image.Image, _random: np.random.Generator, gamma: float) -> Image.Image:
    return image.point([round(255 * (level / 255) ** gamma) for level in range(256)])


def _scanned(image: Image.Image, random: np.random.Generator, resolution: float, noise: float) -> Image.Image:
    small = image.resize([max(32, round(side * resolution)) for side in image.size], Image.Resampling.BOX)
    pixels = np.asarray(small.resize(image.size, Image.Resampling.BICUBIC), np.float32)
    pixels = pixels + noise * random.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(np.uint8(np.clip(np.rint(pixels), 0, 255)))


CHANGES: dict[str, Change | int] = {
    "exposure, weak": partial(_gamma, gamma=1.1),
    "exposure, strong": partial(_gamma, gamma=1.6),
    "compression, weak": 85,
    "compression, strong": 40,
    "scanner, weak": partial(_scanned, resolution=0.7, noise=1.5),
    "scanner, strong": partial(_scanned, resolution=0.4, noise=5.0),
}
"""By name: what is done to the grey levels, or the quality of a JPEG that the file is saved as again."""


def changed(content: bytes, change: Change | int, seed: int) -> bytes:
    """Return a radiograph's file after a change."""
    with Image.open(io.BytesIO(content)) as opened:
        tables = getattr(opened, "quantization", None)
        grey = opened.convert("L")
    out = io.BytesIO()
    if isinstance(change, int):
        grey.save(out, "JPEG", quality=change)
        return out.getvalue()
    image = change(grey, np.random.default_rng(seed))
    if tables:
        image.save(out, "JPEG", qtables={0: tables[0]})
    else:
        image.save(out, "PNG")
    return out.getvalue()


def compute_all(
    export: Path, manifest: Manifest, root: Path, threads: int = 2
) -> tuple[dict[str, Sample], NDArray[np.bool_]]:
    """Compute all forms of the held-out images, and the foreign pictures.

    Returns:
        The samples, by form: the original, each change, and the pictures. All forms have the images in the same order,
        that of their patients. And bool [n], which images are of viral pneumonia, as far as file names tell.
    """
    model = ServedModel(export, "", "", ServingConfig())
    held_out = sorted((one for one in manifest.entries if one.split in SPLITS), key=lambda one: one.patient)
    numbers = {patient: at for at, patient in enumerate(sorted({one.patient for one in held_out}))}
    labels = np.array([one.label for one in held_out], np.int8)
    patients = np.array([numbers[one.patient] for one in held_out], np.int64)
    contents = [(root / one.path).read_bytes() for one in held_out]
    viral = np.array([subtype(one.patient) == "virus" for one in held_out], np.bool_)
    found: dict[str, Sample] = {}
    forms: Mapping[str, Change | int | None] = {ORIGINAL: None, **CHANGES}
    for name, change in forms.items():
        seen = _answers(model, contents, change, threads)
        found[name] = _sample(model, seen, labels, patients)
        print(f"{name}: {len(seen)} images", file=sys.stderr, flush=True)
    pictures = [picture.content for picture in gather(None, None, ())]
    seen = _answers(model, pictures, None, threads)
    found[PICTURES] = _sample(model, seen, np.full(len(seen), UNKNOWN, np.int8), np.arange(len(seen)))
    return found, viral


def _answers(model: ServedModel, contents: list[bytes], change: Change | int | None, threads: int) -> list[Row]:
    def one(at: int) -> Row:
        content = contents[at] if change is None else changed(contents[at], change, at)
        return _row(model.answer(content), len(content))

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(len(contents))))


def _sample(model: ServedModel, rows: Iterable[Row], labels: NDArray[np.int8], patients: NDArray[np.int64]) -> Sample:
    accepted, foreign, familiar, margins, embeddings, statistics = (list(column) for column in zip(*rows, strict=True))
    width = model.head.shape[1]
    return Sample(
        accepted=np.array(accepted, bool),
        foreign=np.array(foreign, bool),
        familiar=np.array(familiar, bool),
        margins=np.array(margins, np.float64),
        embeddings=np.stack([one if len(one) else np.zeros(width, np.float32) for one in embeddings]),
        statistics=np.stack(statistics),
        labels=labels,
        patients=patients,
        threshold=model.record.threshold,
    )


def _row(answer: Answer, size: int) -> Row:
    image, outputs, found = answer.image, answer.outputs, answer.assessment
    none = np.zeros(len(STATISTICS), np.float32)
    if image is None or outputs is None or answer.refused:
        return False, found.code in FOREIGN, False, float("nan"), np.zeros(0, np.float32), none
    width, height = (np.array([side], np.float64) for side in (image.width, image.height))
    measures = measure(image.levels)[None]
    statistics = describe_images([image.encoding], np.array([size], np.float64), width, height, measures)[0]
    margin = float(outputs.logits[1]) - float(outputs.logits[0])
    embedding = outputs.embedding.astype(np.float16).astype(np.float32)  # as an event holds it
    return True, False, found.familiar, margin, embedding, statistics
