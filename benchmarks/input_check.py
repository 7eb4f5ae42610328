"""Measure what the input check of an exported model refuses, and what it calls unfamiliar, kind by kind.

python benchmarks/input_check.py --export DIR --data data/chest_xray [--originals DIR] [--dicom DIR]
    [--chest cxr.nii.gz] [--head Cranium.inv3] [--brain ch2.nii.gz]
    [--brain mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz]

The test folder's images are looked at, their labels are not. The volumes are public: `benchmarks/foreign_pictures.py`
says where they lie. Pictures of kinds that are marked "development" were in sight when the form of the check was
chosen; its limits come from training and validation images alone.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.stats import beta

from benchmarks.foreign_pictures import Picture, gather, png
from pneumonia.config.service import ServingConfig
from pneumonia.data.layout import find_files
from pneumonia.inference.served_model import Answer, ServedModel

ROOT = Path(__file__).parents[1]
DEGRADED_IMAGES = 104
FRONTAL = ("test images", "originals", "DICOM, chest", "chest, frontal (CT, adult)")
Grey = NDArray[np.uint8]


def _scaled(pixels: Grey, low: float, high: float) -> Grey:
    return np.asarray(np.rint(low + (high - low) * (pixels / 255.0)), np.uint8)


def _cropped(pixels: Grey, top: float, left: float, share: float) -> Grey:
    side = len(pixels)
    y, x, kept = round(side * top), round(side * left), round(side * share)
    return pixels[y : y + kept, x : x + kept]


def _filtered(pixels: Grey, image: Callable[[Image.Image], Image.Image]) -> Grey:
    return np.asarray(image(Image.fromarray(pixels)))


def _noisy(pixels: Grey, level: float) -> Grey:
    noise = np.random.default_rng(0).normal(0, level, pixels.shape)
    return np.asarray(np.clip(pixels + noise, 0, 255), np.uint8)


def _shuffled(pixels: Grey, parts: int) -> Grey:
    side = len(pixels) // parts * parts
    rows = pixels[:side, :side].reshape(parts, side // parts, parts, side // parts).transpose(0, 2, 1, 3)
    flat = rows.reshape(parts * parts, side // parts, side // parts)
    mixed = flat[np.random.default_rng(1).permutation(parts * parts)].reshape(rows.shape)
    return np.asarray(mixed.transpose(0, 2, 1, 3).reshape(side, side))


DEGRADED: dict[str, Callable[[Grey], Grey]] = {
    "blurred, 1 % of the side": lambda p: _filtered(p, lambda i: i.filter(ImageFilter.GaussianBlur(len(p) / 100))),
    "blurred, 3 % of the side": lambda p: _filtered(p, lambda i: i.filter(ImageFilter.GaussianBlur(len(p) / 33))),
    "noise of 10 grey levels": lambda p: _noisy(p, 10),
    "noise of 30 grey levels": lambda p: _noisy(p, 30),
    "contrast reduced to a third": lambda p: _scaled(p, 85, 170),
    "dark": lambda p: _scaled(p, 0, 100),
    "bright": lambda p: _scaled(p, 155, 255),
    "rotated by 5 degrees": lambda p: _filtered(p, lambda i: i.rotate(5)),
    "rotated by 15 degrees": lambda p: _filtered(p, lambda i: i.rotate(15)),
    "a tenth cut off": lambda p: _cropped(p, 0.05, 0.05, 0.9),
    "a quarter cut off": lambda p: _cropped(p, 0.12, 0.12, 0.75),
    "black frame of a tenth": lambda p: np.pad(p, len(p) // 10),
    "mirrored": lambda p: p[:, ::-1],
    "negative": lambda p: np.asarray(255 - p, np.uint8),
    "rotated by 90 degrees": lambda p: np.rot90(p),
    "upside down": lambda p: p[::-1],
    "rotated by 180 degrees": lambda p: p[::-1, ::-1],
    "half of it, left": lambda p: p[:, : len(p) // 2],
    "half of it, lower": lambda p: p[len(p) // 2 :],
    "a ninth of it, middle": lambda p: _cropped(p, 0.33, 0.33, 0.33),
    "shuffled, 4 x 4": lambda p: _shuffled(p, 4),
}


def interval(count: int, n: int, confidence: float = 0.95) -> list[float]:
    """Return the exact interval of a share (Clopper and Pearson 1934)."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, n - count)) if count < n else 1.0
    return [round(low, 4), round(high, 4)]


def summary(answers: Iterable[Answer]) -> dict[str, Any]:
    """Count what was refused, by code, and what was called unfamiliar."""
    found = list(answers)
    refused = sum(answer.refused for answer in found)
    unfamiliar = sum(not answer.refused and not answer.assessment.familiar for answer in found)
    checks = Counter(
        name for answer in found for name in ("inverted", "mirrored", "rotated") if answer.assessment.findings.get(name)
    )
    return {
        "n": len(found),
        "refused": refused,
        "share": round(refused / len(found), 4),
        "interval": interval(refused, len(found)),
        "unfamiliar": unfamiliar,
        "unfamiliar_interval": interval(unfamiliar, len(found)),
        "codes": dict(Counter(answer.assessment.code for answer in found if answer.refused)),
        "said": dict(checks),
    }


def _milliseconds(answers: list[Answer], part: str) -> dict[str, float]:
    """Return the median, and what the fastest tenth took: other work on the machine makes it no slower."""
    taken = [answer.milliseconds.get(part, 0.0) for answer in answers]
    return {"median": round(float(np.median(taken)), 2), "fastest tenth": round(float(np.quantile(taken, 0.1)), 2)}


def measure(model: ServedModel, given: argparse.Namespace) -> dict[str, Any]:
    """Measure all kinds; a JSON object."""
    files = [file for file in find_files(given.data) if "test" in file.relative_to(given.data).parts]
    test = [model.answer(file.read_bytes()) for file in files]
    frontal: dict[str, dict[str, Any]] = {"test images": summary(test)}
    if given.originals is not None:
        frontal["originals"] = summary(model.answer(file.read_bytes()) for file in find_files(given.originals))
    chosen = files[:: max(1, len(files) // DEGRADED_IMAGES)][:DEGRADED_IMAGES]
    upright = [np.asarray(Image.open(io.BytesIO(file.read_bytes())).convert("L")) for file in chosen]
    degraded = {
        name: summary(model.answer(png(np.ascontiguousarray(change(pixels)))) for pixels in upright)
        for name, change in DEGRADED.items()
    }
    pictures = list(gather(given.chest, given.head, tuple(given.brain or ())))
    if given.dicom is not None:
        pictures += _dicom(given.dicom)
    kinds: dict[tuple[str, bool], list[Answer]] = {}
    for picture in pictures:
        kinds.setdefault((picture.kind, picture.development), []).append(model.answer(picture.content))
    foreign = [
        {"kind": kind, "development": development} | summary(answers)
        for (kind, development), answers in sorted(kinds.items())
        if kind not in FRONTAL
    ]
    frontal |= {kind: summary(answers) for (kind, _), answers in sorted(kinds.items()) if kind in FRONTAL}
    return {
        "model": {"name": model.record.name, "weights": model.record.weights_digest, "precision": model.precision},
        "frontal": frontal,
        "degraded": degraded,
        "foreign": foreign,
        "foreign, all": _total(kinds, lambda _: True),
        "foreign, held out": _total(kinds, lambda development: not development),
        "milliseconds": {part: _milliseconds(test, part) for part in ("decode", "compute", "check")},
        "machine": platform.processor() or platform.machine(),
    }


def _total(kinds: dict[tuple[str, bool], list[Answer]], wanted: Callable[[bool], bool]) -> dict[str, Any]:
    return summary(
        answer for (kind, development), found in kinds.items() if kind not in FRONTAL and wanted(development)
        for answer in found
    )  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """Return a result as a Markdown table, as docs/input_check.md holds it."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in found["foreign"]:
        kinds.setdefault(row["kind"], []).append(row)
    rows = [("frontal radiographs", name, [row]) for name, row in found["frontal"].items()]
    rows += [("test images, changed", name, [row]) for name, row in found["degraded"].items()]
    rows += [("other pictures", f"{name}{_mark(kinds[name])}", kinds[name]) for name in kinds]
    lines = ["| | kind | n | refused | interval | unfamiliar |", "|---|---|---|---|---|---|"]
    before = ""
    for group, name, parts in rows:
        n, refused, unfamiliar = (sum(part[key] for part in parts) for key in ("n", "refused", "unfamiliar"))
        low, high = interval(refused, n)
        group, before = ("" if group == before else group), group
        lines.append(f"| {group} | {name} | {n} | {refused} | {low:.1%} to {high:.1%} | {unfamiliar} |")
    return "\n".join(lines)


def _mark(rows: list[dict[str, Any]]) -> str:
    seen = sum(row["n"] for row in rows if row["development"])
    return "" if not seen else " (development)" if seen == sum(row["n"] for row in rows) else " (half development)"


def _dicom(folder: Path) -> Iterator[Picture]:
    for file in sorted(folder.glob("*.dcm")):
        kind = "DICOM, chest" if "chest" in file.name else "DICOM, tibia"
        yield Picture(kind, file.name, file.read_bytes(), development=kind == "DICOM, chest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--data", type=Path, default=Path("data/chest_xray"))
    parser.add_argument("--originals", type=Path, help="the same images at full size")
    parser.add_argument("--dicom", type=Path, help="DICOM files whose names hold what they show")
    parser.add_argument("--chest", type=Path, help="CT of a chest, NIfTI")
    parser.add_argument("--head", type=Path, help="CT of a head, InVesalius")
    parser.add_argument("--brain", type=Path, action="append", help="MR of a head, NIfTI")
    parser.add_argument("--json", type=Path, help="write the result here")
    given = parser.parse_args()
    found = measure(ServedModel(given.export, "benchmark", "0", ServingConfig()), given)
    text = json.dumps(found, indent=1)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
