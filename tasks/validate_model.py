"""Fourth step: judge the model on the gate set and then on the release set, and write the report."""

from __future__ import annotations

import json
from pathlib import Path

import pneumonia
from pneumonia.config.policy import Policy, load_policy
from pneumonia.config.schema import Config
from pneumonia.data import packing
from pneumonia.data.manifest import Manifest
from pneumonia.evaluation import gate
from pneumonia.evaluation.assessment import assess
from pneumonia.evaluation.judgement import Judgement
from pneumonia.evaluation.scored_model import VIEWS, Model
from pneumonia.evaluation.split_table import split_table
from pneumonia.evidence.assessment_files import exported_model, write_assessment
from pneumonia.files import write_text
from pneumonia.modelling.device import Compute
from pneumonia.progress import Progress, silent
from pneumonia.records.base import Document
from pneumonia.records.evaluation import (
    OutsideMetrics,
    Verdict,
)
from pneumonia.records.model import ModelRecord
from pneumonia.records.steps import Dataset, ExportedModel, TrainedModel, Validation
from pneumonia.registry import models, outside, withdrawals
from pneumonia.reporting import report, validation_report
from pneumonia.reporting.plots import plots
from pneumonia.statistics.metrics import compute_curves
from pneumonia.timing import reports_time
from pneumonia.tracking.run import Run


@reports_time
def validate_model(
    dataset: Dataset, trained: TrainedModel, exported: ExportedModel, config: Config, progress: Progress = silent
) -> Validation:
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
        validation = _validate(dataset, trained, exported, config, policy, champion, progress, run)
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


def _validate(
    dataset: Dataset,
    trained: TrainedModel,
    exported: ExportedModel,
    config: Config,
    policy: Policy | None,
    champion: models.Version | None,
    progress: Progress,
    run: Run,
) -> Validation:
    # in float32, independent of the training's precision, because a server computes in float32
    model = Model.load(Path(trained.weights), Compute.of(config.train, precision="fp32"))
    manifest = Manifest.load(Path(dataset.manifest))
    found = Judgement(dataset, trained, config, champion, progress, model, manifest)
    if (how := withdrawals.withdrawal(trained.tracking_uri, model.record)) is not None:
        found.reasons.append(gate.withdrawn_reason(how))
    if (how := withdrawals.withdrawal_in_another_use(trained.tracking_uri, model.record)) is not None:
        found.reasons.append(gate.withdrawn_in_another_use_reason(how))
    if policy is None:
        found.judge_demo()
    else:
        found.judge_by(policy)
    verdict = found.verdict(policy)
    progress(0.9, 1.0, "writing the report")
    page = _report(found, verdict, exported)
    _log(run, found, verdict, page)
    return Validation(verdict=verdict, openings=found.opened, report=str(page))


def _log(run: Run, found: Judgement, verdict: Verdict, page: Path) -> None:
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


def _report(found: Judgement, verdict: Verdict, exported: ExportedModel) -> Path:
    """Write the report with assessment and plots, and the scores that every number of it can be recomputed from."""
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
    write_text(folder / "evaluation.json", config.evaluation.model_dump_json(indent=2))  # to compute it again with
    dependence = {name: each.model_dump() for name, each in found.dependence.items()}
    write_text(folder / "dependence.json", json.dumps(dependence, indent=2))
    statistics = packing.open_statistics(Path(found.dataset.pixels))
    table = split_table(Path(found.dataset.root), found.manifest, split.images, scored, statistics)
    assessment = assess(table, config.evaluation, verdict.measured_on)
    pictures += write_assessment(
        folder,
        table,
        assessment,
        exported_model(Path(exported.folder), config),
        lambda positions: split.images.pixels[split.images.rows[positions]],
    )
    used = report.ModelUsed(
        name=config.registry.name,
        weights_digest=trained.weights_digest,
        threshold=found.model.record.threshold,
        best_epoch=trained.best_epoch,
        run_id=trained.run_id,
        git_commit=pneumonia.git_commit(),
        served=f"{exported.precision} is served; {exported.reason}",
    )
    data = validation_report.data_used(found.dataset, found.manifest, split.images, phantom, found.opened)
    elsewhere = _outside(trained.tracking_uri, config.registry.name, found.model.record)
    page = report.markdown(
        data, used, config, trained.epochs, verdict, pictures, found.dependence, elsewhere, assessment
    )
    return write_text(folder / "report.md", page)


def _outside(uri: str, name: str, record: ModelRecord) -> list[OutsideMetrics]:
    """Return the outside metrics of this model, where it is registered already."""
    same = [version for version in models.versions(uri, name) if version.is_model(record)]
    return [found for version in same for found in outside.registered(uri, version)]
