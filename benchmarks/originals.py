"""Compare images at full size with their 224-px copies in the set: pixels and probabilities.

python benchmarks/originals.py --model FILE.safetensors --originals DIR --copies data/chest_xray
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from pneumonia.config.schema import Config
from pneumonia.data.layout import find_files
from pneumonia.imaging import radiograph
from pneumonia.inference.predictor import Predictor


def compare(predictor: Predictor, originals: Path, copies: Path) -> dict[str, Any]:
    """Compare images with the same path below both folders, read with the model's own preprocessing."""
    names = [path.relative_to(originals) for path in find_files(originals)]
    names = [name for name in names if (copies / name).is_file()]
    images = [
        [radiograph.read(root / name, predictor.record.preprocess) for name in names] for root in (originals, copies)
    ]
    found: dict[str, Any] = {"images": len(names), "size": predictor.record.preprocess.size}
    for kind in ("levels", "pixels"):
        first, second = (np.stack([getattr(image, kind) for image in side]).astype(int) for side in images)
        found[f"median difference of {kind}"] = float(np.median(np.abs(first - second)))
    scores = [predictor.probabilities(np.stack([image.pixels for image in side])) for side in images]
    moved = np.abs(scores[0] - scores[1])
    predicted = [side >= predictor.record.threshold for side in scores]
    return found | {
        "median difference of probability": round(float(np.median(moved)), 5),
        "95 % of images within": round(float(np.quantile(moved, 0.95)), 4),
        "largest": round(float(moved.max()), 4),
        "images classified otherwise": int((predicted[0] != predicted[1]).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model's .safetensors")
    parser.add_argument("--originals", type=Path, required=True, help="full-size images, in the set's layout")
    parser.add_argument("--copies", type=Path, default=Path("data/chest_xray"))
    given = parser.parse_args()
    print(json.dumps(compare(Predictor.load(given.model, Config()), given.originals, given.copies), indent=2))


if __name__ == "__main__":
    main()
