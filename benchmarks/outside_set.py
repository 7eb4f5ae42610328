"""Prepare an outside set from NIH ChestX-ray14: frontal radiographs, one a patient, healthy or with pneumonia.

python benchmarks/outside_set.py --entries Data_Entry_2017_v2020.csv --images images/ --out data/nih [--view PA]
    [--ages 18 120] [--balance 4] [--seed 0]

The table and the images are NIH's (nihcc.app.box.com/v/ChestXray-NIHCC), free for any use with attribution: Wang et
al., ChestX-ray8, CVPR 2017. Its labels are mined from reports. Of each patient one image is kept, the first with
pneumonia or else the first without any finding; of healthy patients so many are drawn as `--balance` times those with
pneumonia. The files are linked, not copied. Then:

    pneumonia evaluate data/nih --outside nih-pa-adults --model models:/pneumonia-resnet18@champion
"""

from __future__ import annotations

import argparse
import csv
import os
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

CLASSES = {"No Finding": "NORMAL", "Pneumonia": "PNEUMONIA"}
COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")


def choose(
    rows: Iterable[dict[str, str]], view: str, ages: tuple[int, int], balance: int, seed: int
) -> tuple[dict[str, tuple[str, str]], Counter[str]]:
    """Return by image its class and its patient, and how many images were left out for which reason."""
    chosen: dict[str, tuple[str, str]] = {}  # by patient
    left: Counter[str] = Counter()
    for row in rows:
        findings, patient = set(row["Finding Labels"].split("|")), row["Patient ID"]
        label = "PNEUMONIA" if "Pneumonia" in findings else CLASSES.get(row["Finding Labels"], "")
        age = int("".join(filter(str.isdigit, row["Patient Age"])) or -1)
        if not label:
            left["another finding"] += 1
        elif row["View Position"] != view:
            left["another view"] += 1
        elif not ages[0] <= age <= ages[1]:
            left["another age"] += 1
        elif patient in chosen and (label, chosen[patient][1]) != ("PNEUMONIA", "NORMAL"):
            left["another image of the patient"] += 1
        else:
            left["another image of the patient"] += patient in chosen
            chosen[patient] = (row["Image Index"], label)
    healthy = sorted(patient for patient, (_, label) in chosen.items() if label == "NORMAL")
    kept = balance * (len(chosen) - len(healthy))
    for patient in random.Random(seed).sample(healthy, max(0, len(healthy) - kept)):
        left["more healthy patients than asked for"] += 1
        del chosen[patient]
    return {image: (label, patient) for patient, (image, label) in chosen.items()}, left


def link(chosen: dict[str, tuple[str, str]], images: Path, out: Path) -> int:
    """Link the images into NORMAL/ and PNEUMONIA/, write patients.csv, and return how many images are not there."""
    files = {path.name: path for path in images.rglob("*.png")}
    for name in CLASSES.values():
        (out / name).mkdir(parents=True)
    missing = 0
    with (out / "patients.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["path", "patient"])
        for image, (label, patient) in sorted(chosen.items()):
            if image not in files:
                missing += 1
                continue
            os.link(files[image], out / label / image)
            writer.writerow([f"{label}/{image}", patient])
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=Path, required=True, help="NIH's table of all images")
    parser.add_argument("--images", type=Path, required=True, help="folder that holds its images, at any depth")
    parser.add_argument("--out", type=Path, required=True, help="new folder, on the same disk")
    parser.add_argument("--view", choices=("PA", "AP"), default="PA")
    parser.add_argument("--ages", nargs=2, type=int, default=(0, 120), metavar=("FROM", "TO"), help="years")
    parser.add_argument("--balance", type=int, default=4, help="healthy patients for one with pneumonia")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.out.exists():
        raise SystemExit(f"{given.out}: exists; name a new folder, or remove it")
    with given.entries.open(newline="") as table:
        rows = list(csv.DictReader(table))
    if not rows or set(COLUMNS) - set(rows[0]):
        raise SystemExit(f"{given.entries}: is not NIH's table; its columns begin with {', '.join(COLUMNS)}")
    chosen, left = choose(rows, given.view, tuple(given.ages), given.balance, given.seed)
    missing = link(chosen, given.images, given.out)
    counts = Counter(label for label, _ in chosen.values())
    print(f"{given.out}: {dict(counts)}, one image a patient; not in {given.images}: {missing}")
    for reason, count in sorted(left.items()):
        print(f"left out, {reason}: {count}")


if __name__ == "__main__":
    main()
