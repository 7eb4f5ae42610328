"""Measure time and memory of packing, dividing and auditing many small images; prints JSON.

python benchmarks/large_set.py [--images 100000] [--out FILE.json]

The images are noise of 64 px (no phantoms: drawing those takes longer than reading them), two of each patient. In every
hundredth pair the second is a copy of the next patient's, in every hundredth a recompressed copy of the first.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.processor import processor
from pneumonia.config.schema import CLASSES, DataConfig, PreprocessConfig
from pneumonia.data import packing
from pneumonia.data.audit.report import audit

SIDE = 64
STEP = 100  # of so many patients, one has a copy and one a near-duplicate
TEST = 5  # of so many patients, one is in the test folder


def draw(root: Path, count: int) -> dict[str, int]:
    """Write `count` images in the published layout; return the planted copies and near-duplicates."""
    rng = np.random.default_rng(0)
    planted = {"copies": 0, "near_duplicates": 0}
    for folder in ("train", "test"):
        for name in CLASSES:
            (root / folder / name).mkdir(parents=True)
    pending: dict[tuple[str, int], bytes] = {}
    for patient in range(count // 2):
        label, folder = patient % 2, "test" if patient // 2 % TEST == 0 else "train"
        pixels = rng.integers(1, 255, (SIDE, SIDE), dtype=np.uint8)
        first, second = _jpeg(pixels, 90), _jpeg(rng.integers(1, 255, (SIDE, SIDE), dtype=np.uint8), 90)
        if copy := pending.pop((folder, label), None):
            second, planted["copies"] = copy, planted["copies"] + 1
        elif patient % STEP == 0:
            pending[folder, label] = first
        elif patient % STEP == 1:
            second, planted["near_duplicates"] = _jpeg(pixels, 60), planted["near_duplicates"] + 1
        for image, content in enumerate((first, second)):
            (root / folder / CLASSES[label] / _name(label, patient, image)).write_bytes(content)
    return planted


def _name(label: int, patient: int, image: int) -> str:
    return f"person{patient}_virus_{image}.jpeg" if label else f"IM-{patient:06d}-{image:04d}.jpeg"


def _jpeg(pixels: np.ndarray[Any, np.dtype[np.uint8]], quality: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return content.getvalue()


def measure(root: Path, work: Path, size: int) -> dict[str, Any]:
    """Pack, pack again from the cache, and audit; the memory is the largest of this process so far, in MiB.

    `load` is what the machine was doing before: where it is not near 0, the seconds are too high, and `cpu_seconds`, of
    all threads together, says more.
    """
    found: dict[str, Any] = {"load": round(os.getloadavg()[0], 1), "memory_start_mib": _memory()}
    spent = time.process_time()
    preprocess, config = PreprocessConfig(size=size), DataConfig()
    for name in ("pack_and_split", "again"):
        began = time.perf_counter()
        packed = packing.pack(root, config, preprocess, work)
        found |= {f"{name}_seconds": _since(began), f"{name}_memory_mib": _memory()}
    began = time.perf_counter()
    report = audit(packed, config)
    found |= {"audit_seconds": _since(began), "audit_memory_mib": _memory()}
    seconds = found["pack_and_split_seconds"] + found["audit_seconds"]
    return found | {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - spent, 1),
        "images": len(packed.manifest.entries),
        "near_duplicates": report.near_duplicates.count,
        "duplicate_groups": report.duplicate_files.count,
        "leaks": report.leaks,
    }


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 1)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)


def run(count: int, size: int) -> dict[str, Any]:
    """Draw the images here and measure in another process, so that the drawing's memory is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        planted = draw(Path(folder) / "set", count)
        command = [sys.executable, __file__, "--measure", folder, "--size", str(size)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"size": size, "planted": planted, **found, **processor()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=SIDE, help="side of the packed images, pixels")
    parser.add_argument("--out", type=Path, help="JSON file to add the result to, under the number of images")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure / "set", given.measure / "work", given.size)))
        return
    found = run(given.images, given.size)
    print(json.dumps(found, indent=2))
    if given.out:
        results = json.loads(given.out.read_text()) if given.out.exists() else {}
        results[str(given.images)] = found
        given.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
