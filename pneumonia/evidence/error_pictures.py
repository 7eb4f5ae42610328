"""Show a model's worst errors and most confident answers, each image beside its heat map. Not a medical device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.evaluation.assessment import most_confident, worst_errors
from pneumonia.evaluation.scored_table import ScoredTable
from pneumonia.inference.heat_map import activation_map, overlay
from pneumonia.inference.served_model import ServedModel
from pneumonia.records.assessment import Assessment, Case
from pneumonia.reporting.error_sheet import Picture, Section, write_sheet

SHEET = "errors.png"
PixelsOf = Callable[[Sequence[int]], Iterable[NDArray[np.uint8]]]
"""Returns the images at some positions of a table, uint8 [S, S] each, preprocessed as the model's record says."""


def write_errors(
    folder: Path, model: ServedModel, table: ScoredTable, assessment: Assessment, pixels_of: PixelsOf
) -> Path:
    """Write the sheet `SHEET`: the worst errors, then the most confident right answers of each class.

    Args:
        folder: to write to.
        model: the exported model, whose graph the heat maps come from.
        table: that the assessment was computed from.
        assessment: of the model.
        pixels_of: finds the images.

    Raises:
        DataError: the file cannot be written, or an image cannot be read.
    """
    worst, confident = worst_errors(table), most_confident(table)
    positions = [*worst, *confident]
    cases = [*assessment.worst_errors, *assessment.most_confident]
    with ThreadPoolExecutor(model.threads) as pool:
        found = list(
            pool.map(lambda one: _picture(model, table, *one), zip(positions, cases, pixels_of(positions), strict=True))
        )
    right = found[len(worst) :]
    sections = [
        Section(f"The {len(worst)} worst errors, the furthest on the wrong side first", tuple(found[: len(worst)])),
        *(
            Section(f"Most confident right answers: {label}", tuple(each for each in right if each.case.label == label))
            for label in ("PNEUMONIA", "NORMAL")
        ),
    ]
    return write_sheet(folder / SHEET, sections, table.threshold, phantom=model.record.phantom)


def _picture(model: ServedModel, table: ScoredTable, position: int, case: Case, pixels: NDArray[np.uint8]) -> Picture:
    image = table.images[position]
    heat = activation_map(model.run(pixels), model.head, len(pixels))
    return Picture(case, pixels, overlay(pixels, heat), image.width, image.height)
