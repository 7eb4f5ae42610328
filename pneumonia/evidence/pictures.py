"""Choose the pictures of a report that a dossier shows, and say in words what each shows."""

from __future__ import annotations

from pneumonia.records.dossier import Dossier, Picture
from pneumonia.records.evaluation import Metric

REPORT = "report"
ROBUSTNESS = "robustness/robustness.json"
"""Of which a picture is drawn when the page is made; the run holds the numbers alone."""
OF_IMAGES = "report/errors.png"
"""The picture that shows single images."""
WIDE = ("decision_curve", "slices", "errors")


def pictures_of(dossier: Dossier, *, images: bool = True) -> tuple[Picture, ...]:
    """Return the pictures that the run holds, in the order of the page; without `images` none that shows an image."""
    there = {file.path for file in dossier.files} - (set() if images else {OF_IMAGES})
    found = (picture for picture in _known(dossier) if picture.path in there)
    return tuple(found)


def _known(dossier: Dossier) -> list[Picture]:
    metrics = dossier.verdict.metrics if dossier.verdict else {}
    where = f"on the {dossier.verdict.measured_on}" if dossier.verdict else ""
    point = f"at threshold {dossier.record.threshold:.3g}: {_of(metrics, 'sensitivity')}, {_of(metrics, 'specificity')}"
    auroc, auprc, error = (_of(metrics, *each) for each in (("auroc", "AUROC"), ("auprc", "AUPRC"), ("ece", "error")))
    benefit = f"Net benefit by threshold probability {where}, beside that of acting on all"
    errors = "The worst errors and the most certain right answers with heat maps; the table below names each"
    rows = (
        ("roc", "ROC curve", f"ROC curve {where}; {auroc}; {point}", "inside"),
        ("precision_recall", "Precision and recall", f"Precision by recall {where}; {auprc}", "inside"),
        ("confusion", "Confusion", f"Truth by decision {where}, {point}", "inside"),
        ("reliability", "Calibration", f"Observed share of PNEUMONIA by probability {where}; {error}", "inside"),
        ("selective", "Selective prediction", f"Errors by the share of images that is answered {where}", "inside"),
        ("decision_curve", "Decision curve", benefit, "inside"),
        ("slices", "Slices", "Metrics of each slice with intervals; the table has the numbers", "slices"),
        ("errors", "Worst errors", errors, "errors"),
    )
    found = [
        Picture(path=f"{REPORT}/{name}.png", title=title, alt=" ".join(alt.split()), section=section, wide=name in WIDE)
        for name, title, alt, section in rows
    ]
    alt = "Metrics by kind and strength of the change; the numbers are in the table"
    return [*found, Picture(path=ROBUSTNESS, title="Robustness", alt=alt, section="robustness", wide=True)]


def _of(metrics: dict[str, Metric], name: str, words: str = "") -> str:
    metric = metrics.get(name)
    shown = "not measured" if metric is None else f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
    return f"{words or name} {shown}"
