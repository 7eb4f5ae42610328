"""Render a dossier as one HTML page that opens without a network: its style and pictures are in it, and no script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pneumonia.records.cross_validation import CrossValidated
from pneumonia.records.dossier import BundleFile, Dossier
from pneumonia.records.evaluation import Metric
from pneumonia.reporting.plots import NOT_A_DEVICE
from pneumonia.reporting.tables import METRIC_NAMES

SHORT = 12
"""Digits of a digest where it is shown beside others; the table of files has all of them."""
BAR = (120, 14)
"""Width and height of a drawn interval, pixels."""


class Section(NamedTuple):
    """A section of the page: its identifier, which weaknesses and checklists refer to, and its title."""

    id: str
    title: str


SECTIONS = (
    Section("card", "What it is for, and what it is not for"),
    Section("weaknesses", "Weaknesses"),
    Section("facts", "How it works"),
    Section("data", "Data"),
    Section("outside", "Metrics on images of other places"),
    Section("inside", "Metrics of its own data set"),
    Section("verdict", "Verdict"),
    Section("openings", "Openings of the release set"),
    Section("cross-validation", "Cross-validation"),
    Section("slices", "Slices"),
    Section("errors", "Errors"),
    Section("robustness", "Robustness"),
    Section("shortcuts", "Shortcuts"),
    Section("ledger", "Ledger of champions"),
    Section("environment", "Environment"),
    Section("sbom", "Bill of materials"),
    Section("checklists", "Checklists"),
    Section("files", "Files"),
)
NAMES = {
    **METRIC_NAMES,
    "likelihood_ratio_positive": "Likelihood ratio of a positive answer",
    "likelihood_ratio_negative": "Likelihood ratio of a negative answer",
}


def page(dossier: Dossier, images: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        dossier: whatever text is in it is escaped.
        images: PNG files of `dossier.pictures`, by path.

    Raises:
        KeyError: a picture is missing.
    """
    environment = Environment(
        loader=PackageLoader("pneumonia.reporting.dossier"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"interval": _interval, "bar": _bar, "name": _name, "short": _short, "percent": _percent}
    environment.filters |= {"rows": _rows, "digests": _digests}
    pictures: dict[str, list[Any]] = {section.id: [] for section in SECTIONS}
    for picture in dossier.pictures:
        pictures[picture.section].append({"shown": picture, "address": _embedded(images[picture.path])})
    template = environment.get_template("dossier.html.j2")
    return template.render(
        d=dossier,
        sections={section.id: section.title for section in SECTIONS},
        pictures=pictures,
        notice=NOT_A_DEVICE,
        counts=_counts(dossier),
    )


def _counts(dossier: Dossier) -> dict[str, int]:
    weights = [each.weight for each in dossier.weaknesses]
    return {weight: weights.count(weight) for weight in ("serious", "caution", "not known")}


def _embedded(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _interval(metric: Metric | CrossValidated, sign: str = "") -> str:
    value = metric.value if isinstance(metric, Metric) else metric.mean
    form = f"{sign}.3f"
    return f"{value:{form}} ({metric.low:{form}} to {metric.high:{form}})"


def _bar(metric: Metric | CrossValidated, low: float = 0.0, high: float = 1.0) -> Markup:
    """Draw a value with its interval between two ends; it is hidden from screen readers, as numbers stand beside it."""
    value = metric.value if isinstance(metric, Metric) else metric.mean
    width, height = BAR

    def place(number: float) -> float:
        return 4 + (width - 8) * min(1.0, max(0.0, (number - low) / (high - low)))

    middle = height / 2
    shape = (
        f'<svg class="bar" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<line class="track" x1="4" x2="{width - 4}" y1="{middle}" y2="{middle}"/>'
        f'<line class="span" x1="{place(metric.low):.1f}" x2="{place(metric.high):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle cx="{place(value):.1f}" cy="{middle}" r="3.5"/></svg>'
    )
    return Markup(shape)  # noqa: S704 — of numbers alone


def _name(metric: str) -> str:
    return NAMES.get(metric, metric.replace("_", " "))


def _short(digest: str | None) -> str:
    return digest[:SHORT] if digest else "none"


def _percent(share: float) -> str:
    digits = 0 if share in (0, 1) or 0.01 <= share <= 0.99 else 1
    return f"{100 * share:.{digits}f} %"


def _rows(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str, bool]]:
    """Return the rows of a table of facts, whose last element says whether the value is code."""
    return [(key, value, False) for key, value in pairs]


def _digests(files: Iterable[BundleFile]) -> list[tuple[str, str, bool]]:
    return [(file.path, file.sha256, True) for file in files]
