"""Score changed images with the served graph. Not a medical device."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import Config, EvaluationConfig
from pneumonia.evaluation import robustness
from pneumonia.evaluation.robustness import CHANGES, STRENGTHS
from pneumonia.evidence.labelled_evaluation import Evaluated
from pneumonia.files import write_text
from pneumonia.imaging import radiograph
from pneumonia.inference.predictor import Predictor
from pneumonia.progress import Progress, silent
from pneumonia.records.assessment import Robustness, RobustnessRow
from pneumonia.registry import models
from pneumonia.registry import robustness as kept
from pneumonia.registry.openings import rows_digest
from pneumonia.registry.robustness import DOCUMENT
from pneumonia.reporting.assessment_plots import robustness_plot
from pneumonia.statistics.metrics import Scored
from pneumonia.tracking.client import store_is_new, tracking_uri


def measure_robustness(
    predictor: Predictor, evaluated: Evaluated, config: EvaluationConfig, progress: Progress = silent
) -> Robustness:
    """Score up to 100 images of each class under every change, and compute the metrics of each.

    The images are drawn with the seed of the bootstrap, and so is the noise: the same files give the same result.

    Args:
        predictor: the model.
        evaluated: the images, with their files.
        config: resamples, coverage and seed.
        progress: called with the images done and all images.

    Raises:
        UnreadableRadiograph: a file was removed or changed since it was scored.
    """
    table = evaluated.table
    chosen = robustness.choose([image.label for image in table.images], [image.copy for image in table.images],
                               config.seed)  # fmt: skip
    scores = _scores(predictor, [evaluated.files[at] for at in chosen], config.seed, progress)
    images = [table.images[at] for at in chosen]
    labels, patients = [image.label for image in images], [image.drawn_with for image in images]
    found = [robustness.metrics_of(Scored(labels, row, patients, table.threshold), config) for row in scores]
    places = [(change, strength) for change in CHANGES for strength in STRENGTHS]
    return Robustness(
        measured_on=evaluated.assessment.measured_on,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        weights_digest=predictor.record.weights_digest,
        threshold=table.threshold,
        confidence=config.confidence,
        images=len(chosen),
        positives=sum(labels),
        rows_digest=rows_digest([image.sha256 for image in images]),
        seed=config.seed,
        reference=found[0],
        rows=tuple(
            RobustnessRow(change=change.name, strength=strength, amount=change.amount(strength), metrics=metrics)
            for (change, strength), metrics in zip(places, found[1:], strict=True)
        ),
    )


def _scores(predictor: Predictor, files: Sequence[str], seed: int, progress: Progress) -> NDArray[np.float64]:
    """Return the probabilities of every version of the images, [versions, images]."""

    def score(position: int) -> list[float]:
        image = robustness.grey_image(radiograph.load(files[position]), files[position])
        versions = robustness.versions(image, seed, position)
        return [
            predictor.model.run(robustness.prepared(version, predictor.record.preprocess)).probability
            for version in versions
        ]

    rows = []
    with ThreadPoolExecutor(predictor.model.threads) as pool:
        for row in pool.map(score, range(len(files))):
            rows.append(row)
            progress(len(rows), len(files), "changing and scoring")
    return np.array(rows, dtype=np.float64).T


def store(config: Config, predictor: Predictor, found: Robustness) -> str:
    """Keep the result with the registered version that was loaded, and return its address.

    Empty where there is none: the model is from a file or a run, or was used at another threshold than its own.

    Raises:
        TrackingError: the store cannot be used.
    """
    uri = tracking_uri(config)
    if not predictor.version.isdecimal() or store_is_new(uri):
        return ""
    version = models.get(uri, predictor.name, predictor.version)
    own = found.threshold == predictor.own_threshold
    if own:
        kept.store(uri, version, found)
    return version.uri if own else ""


def write_robustness(folder: Path, found: Robustness, *, phantom: bool = False) -> Path:
    """Write the document and its plot into a folder; return the plot.

    Raises:
        DataError: the folder cannot be written.
    """
    write_text(folder / DOCUMENT, found.model_dump_json(indent=1))
    return robustness_plot(folder, found, phantom=phantom)
