"""Show by simulation how often equal, better and worse models get which verdict on a gate set; prints JSON or a table.

python benchmarks/gate_power.py [--positives 426 256 --negatives 108 103] [--repeats 200] [--json]

Two models' log odds of an image are drawn from a bivariate normal distribution, in part shared by the images of a
patient. The champion has the AUROC and the sensitivity of the committed `full` profile; the candidate differs from it
in one way. Each pair is compared as the gate compares (`pneumonia.statistics.comparison.compare_models`), with the
margins of the change control plan, once with images as they are and once more for the view without shortcuts, of
independent errors. The margins in `pccp.toml` are chosen from this table: an equal model shall pass in at least nine of
ten cases, a clearly worse one in at most one of twenty.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pneumonia.config.policy import load_policy
from pneumonia.config.schema import EvaluationConfig
from pneumonia.statistics.comparison import compare_models, overall
from pneumonia.statistics.metrics import Scored

AUROC, SENSITIVITY = 0.988, 0.942  # of the champion; docs/validity.md
CORRELATION = 0.85  # of two models' log odds of an image of one class
OF_PATIENT = 0.5  # share of the variance that a patient's images have in common
CANDIDATES: dict[str, tuple[float, float]] = {  # AUROC and sensitivity, less the champion's
    "equal": (0.0, 0.0),
    "better": (0.006, 0.02),
    "slightly worse: AUROC -0.004, sensitivity -0.01": (-0.004, -0.01),
    "lower sensitivity: -0.05": (0.0, -0.05),
    "clearly lower sensitivity: -0.10, AUROC +0.003": (0.003, -0.10),
    "clearly worse: AUROC -0.03, sensitivity -0.05": (-0.03, -0.05),
}


def separation(auroc: float) -> float:
    """Return the distance of two unit normal distributions with this AUROC."""
    return math.sqrt(2) * float(norm.ppf(auroc))


def patients(images: int, people: int, prefix: str) -> list[str]:
    """Return the images' patients, of about equally many images each."""
    return [f"{prefix}{at * people // images}" for at in range(images)]


def draw(
    rng: np.random.Generator, labels: NDArray[np.int64], keys: list[str], auroc: float, sensitivity: float
) -> tuple[Scored, Scored]:
    """Draw a candidate and the champion on the same images."""
    _, person = np.unique(keys, return_inverse=True)

    def noise() -> NDArray[np.float64]:
        shared = rng.normal(size=person.max() + 1)[person]
        return np.asarray(math.sqrt(OF_PATIENT) * shared + math.sqrt(1 - OF_PATIENT) * rng.normal(size=len(labels)))

    common = math.sqrt(CORRELATION) * noise()
    models = []
    for area, wanted in ((auroc, sensitivity), (AUROC, SENSITIVITY)):
        distance = separation(area)
        values = distance * labels + common + math.sqrt(1 - CORRELATION) * noise()
        threshold = distance - float(norm.ppf(wanted))
        models.append(Scored(labels, 1 / (1 + np.exp(threshold - values)), keys, 0.5))
    return models[0], models[1]


def outcomes(given: argparse.Namespace, change: tuple[float, float], margins: dict[str, float]) -> dict[str, Any]:
    """Return how often a candidate gets which outcome in one view, and in both views together."""
    (positives, ill), (negatives, well) = given.positives, given.negatives
    labels = np.repeat([1, 0], [positives, negatives])
    keys = patients(positives, ill, "p") + patients(negatives, well, "n")
    rng = np.random.default_rng(0)
    one: Counter[str] = Counter()
    both: Counter[str] = Counter()
    stopped: Counter[str] = Counter()
    for _ in range(given.repeats):
        seen = []
        for _ in range(2):
            a, b = draw(rng, labels, keys, AUROC + change[0], SENSITIVITY + change[1])
            found = compare_models(a, b, margins, EvaluationConfig(bootstrap=given.bootstrap))
            seen.append(overall(each.outcome for each in found).value)
            stopped.update(each.metric for each in found if each.outcome in ("worse", "cannot tell"))
        one.update(seen)
        both[overall(seen).value] += 1
    return {
        "one_view": {name: round(count / given.repeats / 2, 3) for name, count in sorted(one.items())},
        "both_views": {name: round(count / given.repeats, 3) for name, count in sorted(both.items())},
        "promoted": round((both["better"] + both["not worse"]) / given.repeats, 3),
        "stopped_by": {name: round(count / given.repeats / 2, 3) for name, count in sorted(stopped.items())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positives", nargs=2, type=int, default=(426, 256), metavar=("IMAGES", "PATIENTS"))
    parser.add_argument("--negatives", nargs=2, type=int, default=(108, 103), metavar=("IMAGES", "PATIENTS"))
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--bootstrap", type=int, default=400)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    margins = load_policy().protocol.margins
    found = {name: outcomes(given, change, margins) for name, change in CANDIDATES.items()}
    if given.json:
        print(json.dumps({"margins": margins, **vars(given), "candidates": found}, indent=2))
        return
    print(f"margins {margins}, {given.repeats} repeats")
    for name, row in found.items():
        print(f"{name:<50} promoted {row['promoted']:.3f}  {row['both_views']}  stopped by {row['stopped_by']}")


if __name__ == "__main__":
    main()
