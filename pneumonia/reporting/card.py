"""Write a version's card: what it is for, outside metrics first, then those of its own data set, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pneumonia.records.evaluation import Metric, OutsideMetrics
from pneumonia.records.model import ModelRecord
from pneumonia.reporting.plots import NOT_A_DEVICE
from pneumonia.reporting.tables import METRIC_NAMES, OUTSIDE_METRICS, interval, outside_table, table

PURPOSE = (
    "Frontal chest radiographs of children aged one to five years, of one hospital, NORMAL or PNEUMONIA. Of healthy "
    "adults' radiographs of two other public sets, models of this data set classified 29 to 74 % as PNEUMONIA: it is "
    "not for adults, nor for other views, and what it says of other places is in the outside metrics alone."
)
DOSSIER = (
    "What it is for, where it is weak, and what shows how it earned its place: `dossier/dossier.html` among its "
    "run's files. As it is now, with what came since: `{command}`."
)
NO_OUTSIDE = (
    "None. What follows is of the data set that the model was trained on, and says little about other places: "
    "`pneumonia evaluate DIR --outside NAME --model {uri}` adds them (docs/validity.md)."
)


def card(
    record: ModelRecord,
    uri: str,
    outside: Sequence[OutsideMetrics],
    inside: Mapping[str, Metric],
    measured_on: str = "release set",
) -> str:
    """Return the card as Markdown.

    Args:
        record: of the model.
        uri: of the version.
        outside: metrics on images of other places.
        inside: on the data set's own `measured_on`.
    """
    parts = [f"**{NOT_A_DEVICE}.**"]
    if record.phantom:
        parts.append("**Trained on phantoms**, which are synthetic: it says nothing about radiographs.")
    else:
        parts += ["### What it is for", PURPOSE]
    parts += ["### Outside metrics", outside_table(outside) if outside else NO_OUTSIDE.format(uri=uri)]
    rows = [(METRIC_NAMES[name], interval(inside[name])) for name in OUTSIDE_METRICS if name in inside]
    parts += [f"### Metrics of its own data set, {measured_on}", table(("Metric", "Value and interval"), rows, 1)]
    trained = "unknown" if record.training_patients is None else str(record.training_patients)
    facts = [
        ("Architecture", record.architecture),
        ("Patients trained on", trained),
        ("Threshold", f"{record.threshold:g}"),
        ("Weights digest", f"`{record.weights_digest[:12]}`"),
        ("Data digest", f"`{record.data_digest[:12]}`"),
    ]
    parts += ["### Facts", table(("", ""), facts)]
    parts += ["### Dossier", DOSSIER.format(command=_dossier_command(uri))]
    return "\n\n".join(parts) + "\n"


def _dossier_command(uri: str) -> str:
    name, _, version = uri.removeprefix("models:/").rpartition("/")
    return f"pneumonia dossier {version} --name {name} --out DIR"
