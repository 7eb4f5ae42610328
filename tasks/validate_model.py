"""Third step: score the model on the test images, compare it with the minimums and the champion, write the report."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

import pneumonia
from pneumonia.config.schema import Config
from pneumonia.data import packing
from pneumonia.data.audit import checks
from pneumonia.data.audit.report import AuditReport
from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest
from pneumonia.data.patients import UNKNOWN, unknown
from pneumonia.errors import DataError
from pneumonia.evaluation import gate
from pneumonia.evaluation.shortcut_ablation import measure_dependence
from pneumonia.files import write_text
from pneumonia.modelling.device import Compute
from pneumonia.modelling.network import load_model
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.progress import Progress, silent
from pneumonia.records.base import Document
from pneumonia.records.evaluation import ChampionComparison, ShortcutDependence, Verdict
from pneumonia.records.model import ModelRecord
from pneumonia.records.steps import Dataset, TrainedModel, Validation
from pneumonia.registry import models, moves, verified
from pneumonia.reporting import report
from pneumonia.reporting.plots import plots
from pneumonia.statistics.metrics import Scored, compute_curves, compute_metrics, paired_differences
from pneumonia.tracking.run import Run


def validate_model(dataset: Dataset, trained: TrainedModel, config: Config, progress: Progress = silent) -> Validation:
    """Judge a trained model on the test folder.

    The verdict is a return value: a model that is no better than the champion is a normal outcome. If the model has
    become champion since, the step returns the verdict with which it was promoted.

    Raises:
        PneumoniaError: the weights, the images or the tracking server cannot be used.
    """
    uri = trained.tracking_uri
    path = Path(trained.weights).parent / "validation.json"
    champion = models.champion(uri, config.registry.name)
    if (done := _saved(path, trained, champion, config)) is not None:
        progress(1.0, 1.0, f"reusing the verdict with which the model {trained.key[:8]} was promoted")
        return done
    run = Run.attach(uri, trained.run_id)
    try:
        validation = _validate(dataset, trained, config, champion, progress, run)
    finally:
        run.release()  # a validation that fails leaves a finished training finished
    write_text(path, _SavedValidation(settings=_settings(config), validation=validation).model_dump_json(indent=2))
    return validation


class _SavedValidation(Document):
    """The step's result with the settings that it was made with."""

    settings: str
    validation: Validation


def _settings(config: Config) -> str:
    return config.model_dump_json(include={"evaluation", "gate"})


def _saved(path: Path, trained: TrainedModel, champion: models.Version | None, config: Config) -> Validation | None:
    if champion is None or champion.run_id != trained.run_id or not path.exists():
        return None
    saved = _SavedValidation.model_validate_json(path.read_text(encoding="utf-8"))
    same = saved.settings == _settings(config) and champion.weights_digest == trained.weights_digest
    return saved.validation if same else None


@dataclass(frozen=True)
class _Candidate:
    """A trained model with its scores of the test images."""

    network: nn.Module
    record: ModelRecord
    manifest: Manifest
    images: Images
    scored: Scored

    @property
    def paths(self) -> list[str]:
        return [self.manifest.entries[row].path for row in self.images.rows]


def _validate(
    dataset: Dataset,
    trained: TrainedModel,
    config: Config,
    champion: models.Version | None,
    progress: Progress,
    run: Run,
) -> Validation:
    reads = run.count_test_read(dataset.digest)
    progress(0.1, 1.0, "scoring the test images")
    candidate = _scored(dataset, trained, config)
    progress(0.5, 1.0, "bootstrap by patient")
    metrics = compute_metrics(candidate.scored, config.evaluation)
    progress(0.55, 1.0, "scoring again without each shortcut")
    dependence = measure_dependence(
        candidate.network,
        candidate.images,
        candidate.record.preprocess,
        config.evaluation,
        # as the metrics: what is promoted is served in float32
        Compute.of(config.train, precision="fp32"),
    )
    falls = {name: found.separation for name, found in dependence.items()}
    comparison, same = None, False
    if champion is not None:
        progress(0.6, 1.0, f"comparing with the champion, version {champion.version}")
        comparison, same = _compare(champion, candidate, trained.tracking_uri, config, dataset)
    withdrawn = moves.withdrawal(trained.tracking_uri, candidate.record)
    verdict = gate.judge(metrics, config.gate, comparison, same=same, dependence=falls, withdrawn=withdrawn)
    progress(0.9, 1.0, "writing the report")
    counted = {"test_reads": reads, "audit_test_reads": _audit_reads(dataset)}
    page = _report(dataset, trained, config, candidate, verdict, counted, dependence)
    run.log_intervals(metrics)
    run.log_intervals(falls, "shortcut_dependence_")
    run.log_metrics(counted)
    run.set_tags({"verdict": "passed" if verdict.passed else "not passed"})
    # the first report is one of a registered version's files, which do not change
    run.log_folder(page.parent, f"report-{reads}" if run.is_registered() else "report")
    return Validation(verdict=verdict, test_reads=reads, report=str(page))


def _scored(dataset: Dataset, trained: TrainedModel, config: Config) -> _Candidate:
    network, record = load_model(Path(trained.weights))
    manifest = Manifest.load(Path(dataset.manifest))
    images = Images.of(packing.open_pixels(Path(dataset.pixels)), manifest, "test")
    # in float32, independent of the training's precision, because a server computes in float32
    scores = predict_probabilities(network, images.pixels, images.rows, Compute.of(config.train, precision="fp32"))
    scored = Scored(images.labels, scores, images.patients, record.threshold, images.copies)
    return _Candidate(network, record, manifest, images, scored)


def _audit_reads(dataset: Dataset) -> int:
    """Return how many shortcut features the audit evaluated on the labels of the test images."""
    try:
        found = AuditReport.model_validate_json(Path(dataset.audit).read_text(encoding="utf-8")).shortcuts
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise DataError(
            f"{dataset.audit}: the audit cannot be read ({reason}); run the pipeline again from prepare_data, which "
            "makes it anew"
        ) from error
    return sum("test auroc" in row for row in found.examples)


def _compare(
    champion: models.Version, candidate: _Candidate, uri: str, config: Config, dataset: Dataset
) -> tuple[ChampionComparison, bool]:
    """Compare with the champion, in its own preprocessing, on the same images, and whether both are one model."""
    with verified.fetched(uri, champion) as (path, _):
        network, record = load_model(path)
    packed = packing.pack(Path(dataset.root), config.data, record.preprocess, Path(config.work).resolve())
    kept, rows = _equal_rows(candidate, packed.manifest)
    own = _part(candidate.scored, kept)
    scores = predict_probabilities(network, packed.pixels, rows, Compute.of(config.train, precision="fp32"))
    other = replace(own, probabilities=scores, threshold=record.threshold)
    comparison = ChampionComparison(
        version=champion.version,
        weights_digest=champion.weights_digest,
        differences=paired_differences(own, other, config.evaluation),
        images=len(kept),
        of=len(candidate.images),
    )
    return comparison, candidate.record.is_same_model(record)


def _equal_rows(candidate: _Candidate, manifest: Manifest) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Match the candidate's test images with the rows of another manifest by the content of their files.

    Returns:
        The positions of the images that both have, and their rows in the other manifest.

    Raises:
        DataError: none of the images, or only ones of one class, are the same.
    """
    row = {entry.sha256: index for index, entry in enumerate(manifest.entries)}
    digests = [candidate.manifest.entries[at].sha256 for at in candidate.images.rows]
    kept = np.array([at for at, digest in enumerate(digests) if digest in row], dtype=np.intp)
    if len(np.unique(candidate.images.labels[kept])) < 2:
        raise DataError(
            f"the files of {len(digests) - len(kept)} of {len(digests)} test images have changed since they were "
            "decoded, and what is left cannot be compared with the champion; run the pipeline again from prepare_data"
        )
    return kept, np.array([row[digests[at]] for at in kept], dtype=np.int64)


def _part(scored: Scored, kept: NDArray[np.intp]) -> Scored:
    patients = None if scored.patients is None else [scored.patients[at] for at in kept]
    labels, probabilities = np.asarray(scored.labels)[kept], np.asarray(scored.probabilities)[kept]
    copies = None if scored.copies is None else np.asarray(scored.copies)[kept]
    return Scored(labels, probabilities, patients, scored.threshold, copies)


def _report(
    dataset: Dataset,
    trained: TrainedModel,
    config: Config,
    candidate: _Candidate,
    verdict: Verdict,
    reads: Mapping[str, int],
    dependence: Mapping[str, ShortcutDependence],
) -> Path:
    folder = Path(trained.weights).parent / "report"
    data = report.DataUsed(
        phantom=candidate.record.phantom,
        root=dataset.root,
        digest=dataset.digest,
        split_digest=dataset.split_digest,
        dvc_md5=dataset.dvc_md5,
        counts=dataset.counts,
        patients=_patients(candidate.manifest),
        unreadable=len(dataset.unreadable),
        unknown_patients=unknown(candidate.manifest.entries[row].patient_source for row in candidate.images.rows),
        duplicates=checks.identical_images(candidate.manifest.entries),
        copies=int(candidate.images.copies.sum()),
        **reads,
    )
    used = report.ModelUsed(
        name=config.registry.name,
        weights_digest=trained.weights_digest,
        threshold=candidate.record.threshold,
        best_epoch=trained.best_epoch,
        run_id=trained.run_id,
        git_commit=pneumonia.git_commit(),
    )
    pictures = plots(
        folder,
        trained.epochs,
        compute_curves(candidate.scored),
        verdict.metrics,
        phantom=candidate.record.phantom,
        best_epoch=trained.best_epoch,
    )
    write_text(folder / "verdict.json", verdict.model_dump_json(indent=2))
    write_text(folder / "scores.csv", _table(candidate))
    return write_text(
        folder / "report.md", report.markdown(data, used, config, trained.epochs, verdict, pictures, dependence)
    )


def _patients(manifest: Manifest) -> dict[str, int]:
    """Count the known patients of each split."""
    pairs = {(entry.split, entry.patient) for entry in manifest.entries if entry.patient_source != UNKNOWN}
    return dict(sorted(Counter(split for split, _ in pairs).items()))


def _table(candidate: _Candidate) -> str:
    """Return a CSV table with a row for each test image, from which every metric of the report can be recomputed."""
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(["path", "patient", "label", "probability"])
    images, scores = candidate.images, np.asarray(candidate.scored.probabilities)
    writer.writerows(
        zip(candidate.paths, images.patients, images.labels.tolist(), map(repr, scores.tolist()), strict=True)
    )
    return page.getvalue()
