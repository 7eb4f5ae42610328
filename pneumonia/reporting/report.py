"""Write the report of a training as a Markdown page, from documents, without torch or MLflow."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import CLASSES, Config
from pneumonia.records.assessment import Assessment
from pneumonia.records.base import Document
from pneumonia.records.epoch import EPOCH_THRESHOLD, Epoch
from pneumonia.records.evaluation import OutsideMetrics, ShortcutDependence, Verdict
from pneumonia.reporting.assessment_report import assessment_sections
from pneumonia.reporting.plots import NOT_A_DEVICE
from pneumonia.reporting.tables import METRIC_NAMES, interval, link, metric_table, outside_table, table

# Without the work folder and the tracking: they change no result, and a tracking URI may contain a password.
RECIPE = (
    "data",
    "phantom",
    "preprocess",
    "augment",
    "model",
    "train",
    "operating_point",
    "evaluation",
    "gate",
    "registry",
)

GROUPS = 100  # of equal images that are named


class DataUsed(Document):
    """The radiographs that the model was trained and tested on."""

    phantom: bool
    root: str
    digest: str  # of the manifest
    split_digest: str
    dvc_md5: str | None = None
    counts: dict[str, dict[str, int]]  # split → class → images
    patients: dict[str, int] = Field(default_factory=dict)  # split → known patients; without a known one, no entry
    unknown_patients: int = 0  # test images whose patient is not known
    duplicates: tuple[tuple[str, ...], ...] = ()  # paths of images with equal pixels, by group
    copies: int = 0  # test images that repeat another one
    unreadable: int = 0  # files that were left out
    openings: int | None = None  # of the release set so far, this one included; None: it was not opened


class ModelUsed(Document):
    """The model that the report describes."""

    name: str
    weights_digest: str
    threshold: float
    best_epoch: int
    run_id: str | None = None
    run_url: str | None = None
    git_commit: str | None = None
    served: str | None = None


def markdown(
    data: DataUsed,
    model: ModelUsed,
    config: Config,
    history: Sequence[Epoch],
    verdict: Verdict,
    pictures: Sequence[Path | str] = (),
    dependence: Mapping[str, ShortcutDependence] | None = None,
    outside: Sequence[OutsideMetrics] = (),
    assessment: Assessment | None = None,
) -> str:
    """Return the report as a Markdown page, for the same folder as its `pictures`, which it links by name."""
    names = [Path(picture).name for picture in pictures]
    assessed = assessment_sections(assessment, names) if assessment is not None else []
    placed = [name for name in names if any(f"({name})" in section for section in assessed)]
    parts = [
        f"# {model.name}",
        _notice(data),
        "The [dossier](../dossier/dossier.html) says what the model is for, where it is weak, and what shows it.",
        "## Verdict",
        _verdict(verdict),
        *(("## Outside metrics", outside_table(outside)) if outside else ()),
        "## Metrics",
        _metrics(data, model, config, verdict),
        *(link(name) for name in names if name not in placed),
        *assessed,
        *(("## Shortcuts", _dependence(dependence, config)) if dependence else ()),
        "## Data",
        _data(data),
        "## Training",
        _epochs(history, model.best_epoch),
        "## Recipe",
        f"Profile `{config.profile}`, as resolved; saved as a file, it can be passed with `--config FILE`:",
        f"```toml\n{recipe(config)}```",
        "## How to reproduce",
        _reproduce(model, config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def recipe(config: Config) -> str:
    """Return all settings that a result depends on, as TOML that `resolve(file=…)` reads."""
    lines = []
    for section in RECIPE:
        lines.append(f"[{section}]")
        # A JSON string, number or boolean is valid TOML.
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in getattr(config, section)]
        lines.append("")
    return "\n".join(lines)


def command(config: Config) -> str:
    """Return the shell command that resolves to `config`, except for the work folder and the tracking server."""
    base = resolve(config.profile, assignments=[f"data.root={config.data.root}"], environment={})
    words = ["python", "flows/pipeline.py", "--profile", config.profile, "--data", config.data.root]
    settings = [(section, key, value) for section in RECIPE for key, value in getattr(config, section)]
    for section, key, value in settings:
        name, text = f"{section}.{key}", value if isinstance(value, str) else json.dumps(value)
        if name != "data.root" and value != getattr(getattr(base, section), key):
            words += ["--weights", text] if name == "model.weights" else ["--set", f"{name}={text}"]
    return shlex.join(words)


def _notice(data: DataUsed) -> str:
    lines = [f"> **{NOT_A_DEVICE}.** For research and engineering; no diagnosis may rest on it."]
    if data.phantom:
        lines += [">", "> **Trained on phantoms.** The images are synthetic: the metrics say nothing about patients."]
    return "\n".join(lines)


def _verdict(verdict: Verdict) -> str:
    head = "**Passed**: may become champion." if verdict.passed else "**Not passed**: will not become champion."
    if verdict.outcome is not None:
        head += f" Against the models that it was compared with: **{verdict.outcome}**."
    if verdict.policy is not None:
        head += f" Change control plan `{verdict.policy[:12]}`."
    else:
        head += " A demo: judged by the minimums of its profile alone, with no gate set and no change control plan."
    rows = [(reason.name, "met" if reason.passed else "not met", reason.text) for reason in verdict.reasons]
    return f"{head}\n\n{table(('Condition', 'Outcome', 'Why'), rows)}"


def _metrics(data: DataUsed, model: ModelUsed, config: Config, verdict: Verdict) -> str:
    settings = config.evaluation
    text = (
        f"{_measured_on(data, verdict)}, at threshold {model.threshold:g}. Intervals: {settings.confidence:.0%}, "
        f"percentile bootstrap of {settings.bootstrap} resamples {_unit(data, verdict)}."
    )
    if data.copies:
        text += (
            f" {data.copies} of the images repeat{'s' if data.copies == 1 else ''} another one; they count in the "
            "values, and each group of equal images weighs once in the intervals."
        )
    if data.openings is not None:
        text += (
            f" The release set has been opened {data.openings} time{'s' if data.openings > 1 else ''} so far "
            "(`pneumonia openings`): the more models are looked at on it, the less its metrics say."
        )
    text += (
        f" {_prevalence(data, verdict):.0%} of these images are PNEUMONIA, which is not the prevalence of a clinic; "
        f"the stated one is {settings.prevalence:.0%} (evaluation.prevalence)."
    )
    if config.operating_point.calibrate:
        text += (
            " Probabilities are calibrated for classes that are equally likely; add the log odds of yours. The metrics "
            "`validation_calibrated_on_…` of the MLflow run are of the images that the calibration was found on, so "
            "that they say nothing about other images."
        )
    parts = [text, metric_table("Metric", verdict.metrics)]
    if verdict.gate_metrics:
        parts.append("On the gate set, on which models are compared, as it is and with every shortcut feature removed:")
        parts.append(_views(verdict))
    if verdict.comparisons:
        parts.append("Against other models on the same images of the gate set (candidate − other):")
        parts.append(_comparisons(verdict))
    return "\n\n".join(parts)


def _measured(data: DataUsed, verdict: Verdict) -> Mapping[str, int]:
    return data.counts.get("test" if verdict.measured_on == "release set" else "gate", {})


def _measured_on(data: DataUsed, verdict: Verdict) -> str:
    counts = _measured(data, verdict)
    listed = f"{sum(counts.values())} images ({', '.join(f'{n} {name}' for name, n in counts.items())})"
    if verdict.measured_on == "release set":
        return f"On the release set, the official test folder, {listed}"
    return f"On the gate set, {listed}, which refused the model, so that the release set was not opened"


def _prevalence(data: DataUsed, verdict: Verdict) -> float:
    counts = _measured(data, verdict)
    return counts.get(CLASSES[1], 0) / max(1, sum(counts.values()))


def _views(verdict: Verdict) -> str:
    views = list(verdict.gate_metrics)
    rows = [
        (METRIC_NAMES.get(name, name), *(interval(verdict.gate_metrics[view][name]) for view in views))
        for name in METRIC_NAMES
        if all(name in verdict.gate_metrics[view] for view in views)
    ]
    return table(("Metric", *(f"Images {view}" for view in views)), rows, numbers=len(views))


def _comparisons(verdict: Verdict) -> str:
    rows = [
        (
            f"{found.opponent}, version {found.version}",
            found.view,
            METRIC_NAMES.get(metric.metric, metric.metric),
            interval(metric.difference, "+z"),
            f"{-metric.margin:g}",
            "" if metric.p is None else f"{metric.p:.3f}",
            metric.outcome,
        )
        for found in verdict.comparisons
        for metric in found.metrics
    ]
    return table(("Against", "Images", "Metric", "Difference", "Margin", "p", "Outcome"), rows)


def _unit(data: DataUsed, verdict: Verdict) -> str:
    """Say what the bootstrap draws."""
    images = sum(_measured(data, verdict).values())
    if not data.unknown_patients:
        return "grouped by patient"
    consequence = "if patients have several of them, the intervals are too narrow"
    if data.unknown_patients >= images:
        return f"by image, because the patients are not known: {consequence}"
    return (
        f"grouped by patient where the patient is known; by image for {data.unknown_patients} of the {images} "
        f"images, whose patients are not known: {consequence}"
    )


def _dependence(dependence: Mapping[str, ShortcutDependence], config: Config) -> str:
    count = config.evaluation.ablation_images_per_class
    controlled = all(found.beyond_control is not None for found in dependence.values())
    text = (
        f"Up to {count} of the images of each class, scored again after each shortcut feature was removed from all of "
        "them. The separation is the mean probability of the positives less that of the negatives; its decrease is the "
        "model's dependence on the shortcut."
    )
    if controlled:
        text += (
            " Any change of an image may lower the separation: the last column is the decrease beyond that under a "
            "change as strong that touches no shortcut, which moves the image sideways."
        )
    rows = []
    for feature, found in dependence.items():
        row = [feature, interval(found.normal, "+"), interval(found.pneumonia, "+"), interval(found.separation)]
        if found.beyond_control is not None:
            row.append(interval(found.beyond_control, "+"))
        rows.append(row)
    head = ["Shortcut", *(f"{name} moves by" for name in CLASSES), "Separation falls by"]
    head += ["beyond the control by"] if controlled else []
    return f"{text}\n\n{table(head, rows, numbers=len(head) - 1)}"


def _data(data: DataUsed) -> str:
    origin = [
        ("Kind", "phantoms (synthetic)" if data.phantom else "radiographs"),
        ("Folder", f"`{data.root}`"),
        ("Manifest digest", f"`{data.digest}`"),
        ("Split digest", f"`{data.split_digest}`"),
        ("DVC md5", f"`{data.dvc_md5}`" if data.dvc_md5 else "none"),
        ("Unreadable files left out", str(data.unreadable)),
    ]
    head = ("Split", *CLASSES, "Images", "Patients")
    rows = [
        (
            split,
            *(str(n.get(name, 0)) for name in CLASSES),
            str(sum(n.values())),
            str(data.patients.get(split, "unknown")),
        )
        for split, n in data.counts.items()
    ]
    parts = [table(("Origin", ""), origin), table(head, rows, numbers=4), *_duplicates(data.duplicates)]
    return "\n\n".join(parts)


def _duplicates(groups: Sequence[Sequence[str]]) -> list[str]:
    """Name the groups of equal images."""
    if not groups:
        return []
    images = sum(map(len, groups))
    text = f"{len(groups)} group{'s' if len(groups) > 1 else ''} of images ({images} images) with equal pixels"
    more = [("…", f"and {len(groups) - GROUPS} more, in the manifest")] if len(groups) > GROUPS else []
    rows = [(str(at), ", ".join(f"`{path}`" for path in group)) for at, group in enumerate(groups[:GROUPS], start=1)]
    return [f"{text}; each group lies in one split:", table(("Group", "Images"), [*rows, *more])]


def _epochs(history: Sequence[Epoch], best: int) -> str:
    if not history:
        return ""
    head = ("Epoch", "Train loss", "Train acc.", "Val. loss", "Val. acc.", "Precision", "Recall", "F1", "AUROC")
    fields = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "precision", "recall", "f1", "auroc")
    rows = []
    for epoch in history:
        cells = [str(epoch.epoch), *(f"{getattr(epoch, field):.4f}" for field in fields), f"{epoch.seconds:.0f}"]
        rows.append([f"**{cell}**" for cell in cells] if epoch.epoch == best else cells)
    shown = table((*head, "Seconds"), rows, numbers=len(head) + 1)
    return (
        f"The weights are those of epoch {best}; precision, recall, F1 and AUROC are those of validation, before any "
        f"calibration, at threshold {EPOCH_THRESHOLD:g}.\n\n{shown}"
    )


def _reproduce(model: ModelUsed, config: Config) -> str:
    run = f"`{model.run_id}`" if model.run_id else "none"
    facts = [
        ("Weights digest", f"`{model.weights_digest}`"),
        *([("Served graph", model.served)] if model.served else []),
        ("Git commit", f"`{model.git_commit}`" if model.git_commit else "unknown"),
        ("MLflow run", f"[{run}]({model.run_url})" if model.run_url else run),
    ]
    return (
        f"```sh\n{command(config)}\n```\n\n"
        "The same data, commit, device and number of CPU threads give the same weights digest.\n\n"
        f"{table(('Expected', ''), facts)}"
    )
