"""Write what an evaluation of a labelled folder has found: a page with plots, scores, and the sheet of errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.evidence.assessment_files import write_assessment
from pneumonia.evidence.labelled_evaluation import Evaluated
from pneumonia.evidence.robustness import write_robustness
from pneumonia.imaging.radiograph import read
from pneumonia.inference.predictor import Predictor
from pneumonia.records.assessment import Robustness
from pneumonia.reporting.assessment_report import write_evaluation
from pneumonia.reporting.plots import plots
from pneumonia.statistics.metrics import compute_curves


def write_page(folder: Path, predictor: Predictor, found: Evaluated, robustness: Robustness | None = None) -> Path:
    """Write all files of an evaluation into a folder, and return the page's path.

    Args:
        folder: created where it is missing; files of the same names are replaced.
        predictor: that was evaluated.
        found: the evaluation.
        robustness: of the same images, where it was measured.

    Raises:
        DataError: the folder cannot be written, the disk is full, or an image was removed meanwhile.
    """
    phantom, assessment = predictor.record.phantom, found.assessment

    def pixels_of(positions: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        return (read(found.files[at], predictor.record.preprocess).pixels for at in positions)

    pictures = plots(folder, (), compute_curves(found.table.scored), assessment.metrics, phantom=phantom)
    pictures += write_assessment(folder, found.table, assessment, predictor.model, pixels_of)
    if robustness is not None:
        pictures.append(write_robustness(folder, robustness, phantom=phantom))
    return write_evaluation(folder, assessment, f"{predictor.name} {predictor.version}", pictures, robustness)
