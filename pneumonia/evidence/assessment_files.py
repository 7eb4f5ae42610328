"""Write the files of an assessment: scores, document, plots, and the sheet of errors."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.schema import Config
from pneumonia.evaluation.scored_table import ScoredTable
from pneumonia.evidence.error_pictures import PixelsOf, write_errors
from pneumonia.files import write_text
from pneumonia.inference.served_model import ServedModel
from pneumonia.records.assessment import Assessment
from pneumonia.reporting.assessment_plots import assessment_plots
from pneumonia.timing import timed

SCORES, ASSESSMENT = "scores.csv", "assessment.json"


def exported_model(folder: Path, config: Config) -> ServedModel:
    """Load the float32 graph of an export, without the input check."""
    settings = config.serving.model_copy(update={"check_input": False, "precision": "fp32"})
    return ServedModel(folder, config.registry.name, "", settings)


@timed("assessment")
def write_assessment(
    folder: Path, table: ScoredTable, assessment: Assessment, model: ServedModel, pixels_of: PixelsOf
) -> list[Path]:
    """Write `SCORES`, `ASSESSMENT`, the plots and the sheet of errors into a folder; return the pictures.

    Args:
        folder: created where it is missing.
        table: of scored images.
        assessment: that was computed from it.
        model: whose graph the heat maps come from.
        pixels_of: finds the images of the sheet.

    Raises:
        DataError: the folder cannot be written, the disk is full, or an image cannot be read.
    """
    table.write(folder / SCORES)
    write_text(folder / ASSESSMENT, assessment.model_dump_json(indent=1))
    pictures = assessment_plots(folder, assessment, phantom=model.record.phantom)
    return [*pictures, write_errors(folder, model, table, assessment, pixels_of)]
