"""Say what a model is for and what it is not for, in sentences that follow from its record and its data."""

from __future__ import annotations

from pneumonia.records.dossier import DataSheet, ModelCard
from pneumonia.records.export import ExportRecord
from pneumonia.records.model import ModelRecord

SYNTHETIC = "Tests and demonstrations of this project: it learnt from synthetic images, which show no patient."
OWN_SITE = (
    "Research on frontal chest radiographs of the place and the patients that it was trained on: a probability of "
    "PNEUMONIA against NORMAL."
)
CHILDREN = (
    "Research and teaching on frontal chest radiographs of children aged one to five years: a probability of "
    "PNEUMONIA against NORMAL.",
    "A demonstration of how a model is trained, judged, promoted and watched.",
)
NEVER = (
    "Not for a diagnosis or any decision about a patient: it is not a medical device, and no clinical study was made."
)
ADULTS = (
    "Not for adults, nor for older or younger children: of healthy adults' radiographs of two other public sets, "
    "models of this data set classified 29 to 74 % as PNEUMONIA (docs/validity.md)."
)
OTHERS = (
    "Not for other findings: it separates two classes, and neither looks for nor excludes tuberculosis, effusion, "
    "fracture or anything else.",
    "Not for lateral views, other parts of the body, computed tomography or photographs of a screen.",
    "Not for leaving images unread: what it would miss is in “Metrics of its own data set”.",
)


def model_card(record: ModelRecord, data: DataSheet, export: ExportRecord | None) -> ModelCard:
    """Return what the model is for.

    Args:
        record: of the model.
        data: its images.
        export: what is served; None where nothing was exported.
    """
    size, flip = record.preprocess.size, "; the mean over the image and its mirror image" if record.flip_tta else ""
    intended, not_for = _uses(record, data)
    return ModelCard(
        intended=intended,
        not_for=not_for,
        inputs=f"one frontal chest radiograph (JPEG, PNG or DICOM), decoded to {size} x {size} grey levels",
        output=f"a probability of PNEUMONIA, 0 to 1; PNEUMONIA from {record.threshold:.4g} on{flip}",
        served="" if export is None else f"{export.precision}: {export.reason}",
    )


def _uses(record: ModelRecord, data: DataSheet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if record.phantom:
        return (SYNTHETIC,), ("Not for radiographs of people, whatever their number says.", NEVER)
    if not data.population:
        return (OWN_SITE,), (NEVER, "Not for other places, ages and devices, of which nothing is known.", *OTHERS)
    return CHILDREN, (NEVER, ADULTS, *OTHERS)
