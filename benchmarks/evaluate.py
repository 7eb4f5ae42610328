"""Measure how long `pneumonia evaluate` takes on the test folder, and what the assessment adds to the pipeline.

python benchmarks/evaluate.py --export FOLDER --data DIR [--robustness] [--results FILE]

The export is one of `export_model` (a run's artifact `export`). The folder holds NORMAL/ and PNEUMONIA/. Measured in
one process, imports not counted: loading the model; reading, scoring and assessing the images, with all intervals; the
page with plots and the sheet of errors with its heat maps; and the parts that the pipeline's step does of these: the
assessment of scores that are there, and its files. `ratio`: the evaluation's time against the aim of 60 s.
The files are read once first, so that no disk is measured. The opening of a release set is not entered: no label is
held against a score that anybody reads.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.processor import processor, versions
from pneumonia.config.schema import EvaluationConfig
from pneumonia.config.service import ServingConfig
from pneumonia.evaluation.assessment import assess
from pneumonia.evidence.assessment_files import write_assessment
from pneumonia.evidence.evaluation_files import write_page
from pneumonia.evidence.labelled_evaluation import evaluate_folder
from pneumonia.evidence.robustness import measure_robustness
from pneumonia.inference.labelled_folder import find_labelled, find_patients
from pneumonia.inference.model_source import Found
from pneumonia.inference.predictor import Predictor

AIM = 60.0
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return a result, and how long it took, seconds."""
    began = time.perf_counter()
    found = work()
    return found, round(time.perf_counter() - began, 2)


def measure(export: Path, folder: Path, out: Path, *, robustness: bool) -> dict[str, Any]:
    """Time every part of an evaluation."""
    settings = EvaluationConfig()
    labels = find_labelled(folder)
    for file in labels.labels:
        Path(file).read_bytes()
    serving = ServingConfig(precision="fp32", check_input=False)
    predictor, loading = timed(lambda: Predictor(Found(export, "pneumonia-resnet18", "benchmark"), serving))
    before = os.getloadavg()[0]
    began, worked = time.perf_counter(), time.process_time()
    patients = find_patients(folder, labels.labels)
    found, evaluating = timed(lambda: evaluate_folder(predictor, labels, patients, settings))
    _, writing = timed(lambda: write_page(out, predictor, found))
    sheet = (out / "errors.png").stat().st_size
    whole, cpu = time.perf_counter() - began, time.process_time() - worked
    _, assessing = timed(lambda: assess(found.table, settings, "the release set"))
    size = predictor.record.preprocess.size
    pixels = predictor.model.known["sample_pixels"]
    _, files = timed(
        lambda: write_assessment(
            out, found.table, found.assessment, predictor.model, lambda at: [pixels[0].reshape(size, size)] * len(at)
        )
    )
    result = {
        "load_before": round(before, 2),
        "images": found.assessment.images,
        "resamples": settings.bootstrap,
        "threads": predictor.model.threads,
        "flip_tta": predictor.record.flip_tta,
        "errors_drawn": len(found.assessment.worst_errors) + len(found.assessment.most_confident),
        "load_model_s": loading,
        "evaluate_s": evaluating,
        "page_s": writing,
        "evaluate_and_page_s": round(whole, 2),
        "processor_s": round(cpu, 2),
        "aim_s": AIM,
        "ratio": round(whole / AIM, 3),
        "added_to_the_pipeline_s": {"load_graph": loading, "assess": assessing, "files": files},
        "sheet_bytes": sheet,
    }
    if robustness:
        changed, took = timed(lambda: measure_robustness(predictor, found, settings))
        result["robustness"] = {"s": took, "images": changed.images, "versions": 1 + len(changed.rows)}
    return result


def main() -> None:
    """Measure, and print or write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--robustness", action="store_true", help="time the changed images too, some minutes")
    parser.add_argument("--results", type=Path, metavar="FILE")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as out:
        found = measure(given.export, given.data, Path(out), robustness=given.robustness)
    document = processor() | {"versions": versions("openvino", "numpy", "pillow", "matplotlib")} | found
    text = json.dumps(document, indent=2) + "\n"
    if given.results is None:
        print(text, end="")
    else:
        given.results.write_text(text)


if __name__ == "__main__":
    main()
