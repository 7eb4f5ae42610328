"""Run the shortcut audit on one or more folders: python benchmarks/shortcuts.py NAME=DIR [NAME=DIR …]

Prints one JSON document, which `docs/plots.py` draws. The committed results are of `originals`, a sample of the
published images at full size, and `set`, all of them at 224 pixels.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import release
from pneumonia.config.resolve import resolve
from pneumonia.data import packing
from pneumonia.data.audit.shortcut_detector import detect_shortcuts


def audit(folder: str) -> dict[str, object]:
    """Return the number of images, and the AUROC of each feature in training and on the test folder."""
    config = resolve("full", assignments=[f"data.root={folder}"], environment={})
    with tempfile.TemporaryDirectory() as work:
        packed = packing.pack(Path(folder), config.data, config.preprocess, Path(work))
        release.enter(packed.manifest, __file__, "", "no model")
        finding = detect_shortcuts(packed.manifest, packed.features, config.data, test_folder=True)
    left_out = {"meaning", "remedy"}
    features = [{key: value for key, value in row.items() if key not in left_out} for row in finding.examples]
    return {"images": len(packed.manifest.entries), "summary": finding.summary, "features": features}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="NAME=DIR")
    given = parser.parse_args()
    named = dict(folder.split("=", 1) for folder in given.folders)
    print(json.dumps({name: audit(folder) for name, folder in named.items()}, indent=2))


if __name__ == "__main__":
    main()
