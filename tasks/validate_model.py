"""Third step: judge the model on the gate set and then on the release set, and write the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pneumonia
from pneumonia.config.policy import Policy, load_policy, violations
from pneumonia.config.schema import CLASSES, Config
from pneumonia.data import packing
from pneumonia.data.manifest import Manifest
from pneumonia.errors import DataError
from pneumonia.evaluation import gate, gate_set
from pneumonia.evaluation.scored_model import VIEWS, Model, Split
from pneumonia.evaluation.shortcut_ablation import measure_dependence
from pneumonia.files import write_text
from pneumonia.modelling.device import Compute
from pneumonia.progress import Progress, silent
from pneumonia.records.base import Document
from pneumonia.records.evaluation import (
    Champion,
    Metric,
    ModelComparison,
    OutsideMetrics,
    Reason,
    ShortcutDependence,
    Verdict,
)
from pneumonia.records.model import ModelRecord
from pneumonia.records.steps import Dataset, TrainedModel, Validation
from pneumonia.registry import models, moves, openings, outside
from pneumonia.reporting import report, validation_report
from pneumonia.reporting.plots import plots
from pneumonia.statistics.metrics import Scored, compute_curves, compute_metrics
from pneumonia.tracking.run import Run


def validate_model(dataset: Dataset, trained: TrainedModel, config: Config, progress: Progress = silent) -> Validation:
    """Judge a trained model: by the change control plan on gate set and release set, a demo on the release set alone.

    The verdict is a return value: a model that is no better than the champion is a normal outcome. The release set is
    opened only for a model that nothing has refused before. If the model has become champion since, the step returns
    the verdict with which it was promoted.

    Raises:
        ReleaseSetSpent: the plan allows no further opening of the release set.
        PneumoniaError: the weights, the images, the plan or the tracking server cannot be used.
    """
    uri = trained.tracking_uri
    path = Path(trained.weights).parent / "validation.json"
    champion = models.champion(uri, config.registry.name)
    policy = None if config.gate.demo else load_policy(config.gate.policy)
    settings = _settings(config, policy)
    if (done := _saved(path, trained, champion, settings)) is not None:
        progress(1.0, 1.0, f"reusing the verdict with which the model {trained.key[:8]} was promoted")
        return done
    run = Run.attach(uri, trained.run_id)
    try:
        validation = _validate(dataset, trained, config, policy, champion, progress, run)
    finally:
        run.release()  # a validation that fails leaves a finished training finished
    if champion is None or champion.run_id != trained.run_id:  # a champion keeps the verdict that it was promoted with
        write_text(path, _SavedValidation(settings=settings, validation=validation).model_dump_json(indent=2))
    return validation


class _SavedValidation(Document):
    """The step's result with the settings that it was made with."""

    settings: str
    validation: Validation


def _settings(config: Config, policy: Policy | None) -> str:
    plan = "" if policy is None else policy.digest
    return config.model_dump_json(include={"evaluation", "gate"}) + plan


def _saved(path: Path, trained: TrainedModel, champion: models.Version | None, settings: str) -> Validation | None:
    if champion is None or champion.run_id != trained.run_id or not path.exists():
        return None
    saved = _SavedValidation.model_validate_json(path.read_text(encoding="utf-8"))
    same = saved.settings == settings and champion.weights_digest == trained.weights_digest
    return saved.validation if same else None


@dataclass
class _Judgement:
    """What is found about a candidate, as far as it was looked at."""

    dataset: Dataset
    trained: TrainedModel
    config: Config
    champion: models.Version | None
    progress: Progress
    model: Model
    manifest: Manifest
    reasons: list[Reason] = field(default_factory=list)
    comparisons: list[ModelComparison] = field(default_factory=list)
    gate_metrics: dict[str, dict[str, Metric]] = field(default_factory=dict)
    release_metrics: dict[str, Metric] = field(default_factory=dict)
    dependence: dict[str, ShortcutDependence] = field(default_factory=dict)
    measured: tuple[Split, Scored] | None = None
    opened: int | None = None

    def split(self, name: str) -> Split:
        return Split.of(packing.open_pixels(Path(self.dataset.pixels)), self.manifest, name)

    def judge_demo(self) -> None:
        """Open the release set, and judge by the minimums of the profile."""
        split = self.open_release_set(None)
        self.measure_dependence(split, control=False)
        self.reasons += gate.demo_reasons(self.release_metrics, self.config.gate, self.dependence)
        if self.champion is None:
            self.reasons.append(gate.no_champion_reason())
        elif self.champion.is_model(self.model.record):
            self.reasons.append(gate.already_champion_reason(_named(self.champion)))

    def judge_by(self, policy: Policy) -> None:
        """Judge by the plan: on the gate set, and where nothing refuses the model on the release set."""
        split = self.split("gate")
        if len(set(split.images.labels.tolist())) < len(CLASSES):
            raise DataError(
                f"the gate set has no {' and no '.join(self.missing(split))} image: at least three patients of a class "
                "and data.gate_fraction above 0 are needed; a demo has no gate set (--set gate.demo=true)"
            )
        self.progress(0.1, 1.0, "scoring the gate set, as it is and without shortcuts")
        scored = gate_set.score_views(self.model, split)
        self.gate_metrics = {view: compute_metrics(scored[view], self.config.evaluation) for view in VIEWS}
        self.measured = split, scored[VIEWS[0]]
        champion_patients = self.compare(split, scored, policy)
        patients = self.model.record.training_patients or 0
        outside = violations(policy, self.config, self.model.record.classes, patients, champion_patients)
        self.reasons.insert(0, gate.plan_reason(outside))
        self.measure_dependence(split, control=True)
        self.reasons.append(gate.dependence_reason(self.dependence, policy))
        self.reasons.append(gate.calibration_reason(self.gate_metrics[VIEWS[0]], policy))
        if all(reason.passed for reason in self.reasons):
            self.open_release_set(policy)
            self.reasons += gate.release_reasons(self.release_metrics, policy)

    def compare(self, split: Split, scored: Mapping[str, Scored], policy: Policy) -> int | None:
        """Compare with the champion and the reference; return how many patients the champion was trained on."""
        uri, name, patients = self.trained.tracking_uri, self.config.registry.name, None
        if self.champion is None:
            self.reasons.append(gate.no_champion_reason())
        for kind, version in gate_set.opponents(uri, name, self.champion, policy):
            self.progress(0.3, 1.0, f"comparing with the {kind}, version {version.version}")
            other = gate_set.load_version(uri, version, self.model.compute)
            found = gate_set.compare_with(
                kind, version, other, scored, split, Path(self.dataset.root), self.config, policy
            )
            self.comparisons += found
            self.reasons += [gate.comparison_reason(comparison, policy) for comparison in found]
            if kind == "champion":
                patients = other.record.training_patients
                if self.model.record.is_same_model(other.record):
                    self.reasons.append(gate.already_champion_reason(_named(version)))
        return patients

    def verdict(self, policy: Policy | None) -> Verdict:
        """Put together what was found."""
        if self.measured is None:
            raise ValueError("a model is judged after it was scored")
        released = self.opened is not None
        return gate.verdict(
            self.reasons,
            self.release_metrics if released else self.gate_metrics[VIEWS[0]],
            None if self.champion is None else _named(self.champion),
            policy,
            self.comparisons,
            self.gate_metrics,
            released=released,
        )

    def missing(self, split: Split) -> list[str]:
        return [name for label, name in enumerate(CLASSES) if label not in split.images.labels]

    def open_release_set(self, policy: Policy | None) -> Split:
        """Enter the opening, score the release set and compute the metrics."""
        split, uri = self.split("test"), self.trained.tracking_uri
        since = ""
        if policy is not None:
            since = moves.last_promotion(uri, self.config.registry.name)
        self.opened = openings.enter(
            uri,
            openings.enter_images(uri, split.digests),
            weights=self.trained.weights_digest,
            model=self.config.registry.name,
            purpose=openings.GATE,
            demo=policy is None,
            limit=None if policy is None else policy.protocol.openings_per_release,
            since=since,
        )
        self.progress(0.6, 1.0, "scoring the release set")
        scored = self.model.score(split.images)
        self.measured = split, scored
        self.progress(0.7, 1.0, "bootstrap by patient")
        self.release_metrics = compute_metrics(scored, self.config.evaluation)
        return split

    def measure_dependence(self, split: Split, *, control: bool) -> None:
        self.progress(0.45, 1.0, "scoring again without each shortcut")
        self.dependence = measure_dependence(
            self.model.network,
            split.images,
            self.model.record.preprocess,
            self.config.evaluation,
            self.model.compute,
            control=control,
        )


def _validate(
    dataset: Dataset,
    trained: TrainedModel,
    config: Config,
    policy: Policy | None,
    champion: models.Version | None,
    progress: Progress,
    run: Run,
) -> Validation:
    # in float32, independent of the training's precision, because a server computes in float32
    model = Model.load(Path(trained.weights), Compute.of(config.train, precision="fp32"))
    manifest = Manifest.load(Path(dataset.manifest))
    found = _Judgement(dataset, trained, config, champion, progress, model, manifest)
    if (how := moves.withdrawal(trained.tracking_uri, model.record)) is not None:
        found.reasons.append(gate.withdrawn_reason(how))
    if (how := moves.withdrawal_in_another_use(trained.tracking_uri, model.record)) is not None:
        found.reasons.append(gate.withdrawn_in_another_use_reason(how))
    if policy is None:
        found.judge_demo()
    else:
        found.judge_by(policy)
    verdict = found.verdict(policy)
    progress(0.9, 1.0, "writing the report")
    page = _report(found, verdict)
    _log(run, found, verdict, page)
    return Validation(verdict=verdict, openings=found.opened, report=str(page))


def _log(run: Run, found: _Judgement, verdict: Verdict, page: Path) -> None:
    if verdict.measured_on == "release set":
        run.log_intervals(verdict.metrics)
    for view, prefix in zip(VIEWS, ("gate_", "gate_without_shortcuts_"), strict=True):
        run.log_intervals(verdict.gate_metrics.get(view, {}), prefix)
    run.log_intervals({name: each.separation for name, each in found.dependence.items()}, "shortcut_dependence_")
    tags = {"verdict": "passed" if gate.is_good(verdict) else "not passed"}
    if found.opened is not None:
        run.log_metrics({"release_openings": found.opened})
    if verdict.policy is not None:
        tags |= {"policy": verdict.policy, "outcome": verdict.outcome or "no champion"}
    run.set_tags(tags)
    number = run.count_validation()
    # the first report is one of a registered version's files, which do not change
    run.log_folder(page.parent, f"report-{number}" if run.is_registered() else "report")


def _report(found: _Judgement, verdict: Verdict) -> Path:
    """Write the report, its plots and the scores that its metrics can be recomputed from."""
    trained, config, phantom = found.trained, found.config, found.model.record.phantom
    if found.measured is None:
        raise ValueError("a model is reported on after it was scored")
    split, scored = found.measured
    folder = Path(trained.weights).parent / "report"
    pictures = plots(
        folder,
        trained.epochs,
        compute_curves(scored),
        verdict.metrics,
        phantom=phantom,
        best_epoch=trained.best_epoch,
    )
    write_text(folder / "verdict.json", verdict.model_dump_json(indent=2))
    write_text(folder / "scores.csv", validation_report.table(split.paths, split.images, scored))
    used = report.ModelUsed(
        name=config.registry.name,
        weights_digest=trained.weights_digest,
        threshold=found.model.record.threshold,
        best_epoch=trained.best_epoch,
        run_id=trained.run_id,
        git_commit=pneumonia.git_commit(),
    )
    data = validation_report.data_used(found.dataset, found.manifest, split.images, phantom, found.opened)
    elsewhere = _outside(trained.tracking_uri, config.registry.name, found.model.record)
    page = report.markdown(data, used, config, trained.epochs, verdict, pictures, found.dependence, elsewhere)
    return write_text(folder / "report.md", page)


def _outside(uri: str, name: str, record: ModelRecord) -> list[OutsideMetrics]:
    """Return the outside metrics of this model, where it is registered already."""
    same = [version for version in models.versions(uri, name) if version.is_model(record)]
    return [found for version in same for found in outside.registered(uri, version)]


def _named(version: models.Version) -> Champion:
    return Champion(version=version.version, weights_digest=version.weights_digest)
