"""Cross-validate profile full's recipe by patient, in a form that one core does in an hour.

python benchmarks/cross_validation.py --data data/chest_xray --weights FILE [--folds 5] [--seeds 0 …] [--work DIR]
    [--set KEY=VALUE …]

The smaller form of the recipe that `benchmarks/ablation_study.py` compares its variants with: 128 px throughout, five
epochs. The steps are those of flows/cross_validation.py, called one after another, so that a second call finds what is
finished in the work folder. Neither the gate set nor the official test folder is scored. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ablation_study import SMALL
from benchmarks.processor import processor, versions

if TYPE_CHECKING:
    from pneumonia.config.schema import Config
    from pneumonia.records.cross_validation import CrossValidation
    from pneumonia.records.evaluation import Metric
    from pneumonia.records.steps import TrainedModel

SECTIONS = ("data", "preprocess", "augment", "train", "operating_point", "evaluation")
PLACES = frozenset({"root", "folds", "fold", "workers", "split_seed", "seed"})


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Run every step, and return the document."""
    from pneumonia.config.resolve import resolve
    from tasks.plan_folds import plan_folds
    from tasks.prepare_data import prepare_data
    from tasks.score_fold import score_fold
    from tasks.summarise_folds import summarise_folds
    from tasks.train_model import train_model

    settings = [f"data.root={given.data}", f"work={given.work}", "train.threads=1", *SMALL]
    settings += [f"model.weights={given.weights}"] if given.weights else []
    config = resolve("full", assignments=[*settings, *given.settings], environment={})
    planned = plan_folds(config, given.seeds, given.folds)
    datasets, trained, results = [], [], []
    for each in planned:
        datasets.append(prepare_data(each))
        trained.append(train_model(datasets[-1], each))
        results.append(score_fold(datasets[-1], trained[-1], each))
        done = results[-1]
        print(
            f"seed {done.seed}, fold {done.fold}: AUROC {done.metrics['auroc'].value:.4f}", file=sys.stderr, flush=True
        )
    return document(summarise_folds(datasets, results, planned), trained, config)


def document(found: CrossValidation, trained: list[TrainedModel], config: Config) -> dict[str, Any]:
    """Return what is committed: metrics, folds, settings and machine, without a path."""
    from pneumonia.evaluation.cross_validation import read_scores

    tree = config.model_dump(mode="json", include=set(SECTIONS))
    held = [row for one in found.results for row in read_scores(Path(one.scores)) if row.seed == found.seeds[0]]
    rows = []
    for one, model in zip(found.results, trained, strict=True):
        row: dict[str, Any] = {"seed": one.seed, "fold": one.fold, "images": one.images, "positives": one.positives}
        row |= {"weights_digest": one.weights_digest, "minutes": round(sum(e.seconds for e in model.epochs) / 60, 2)}
        rows.append(row | {"metrics": {name: rounded(metric) for name, metric in one.metrics.items()}})
    return {
        "what": "profile full's recipe at 128 px, five epochs, by patient; neither gate set nor test folder",
        "processor": processor(),
        "versions": versions("torch", "torchvision", "numpy"),
        "computed_with": sorted({words for model in trained for words in model.computed_with}),
        "settings": {section: {k: v for k, v in part.items() if k not in PLACES} for section, part in tree.items()},
        "recipe": found.recipe,
        "data_digest": found.data_digest,
        "images": len(held),
        "positives": sum(row.label for row in held),
        "patients": len({row.patient for row in held}),
        "folds": found.folds,
        "seeds": list(found.seeds),
        "metrics": {
            name: {key: round(value, 4) for key, value in each.model_dump(exclude={"values"}).items()}
            | {"values": [round(value, 4) for value in each.values]}
            for name, each in found.metrics.items()
        },
        "pooled": {name: rounded(metric) for name, metric in found.pooled.items()},
        "results": rows,
    }


def rounded(metric: Metric) -> dict[str, float]:
    """Return a metric with four decimals."""
    return {key: round(value, 4) for key, value in metric.model_dump().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/chest_xray", help="folder of images")
    parser.add_argument("--weights", help="imagenet, none, or a file")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--work", default=".pneumonia/cross_validation_benchmark", help="where runs are kept")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    print(json.dumps(run(given), indent=2))


if __name__ == "__main__":
    main()
