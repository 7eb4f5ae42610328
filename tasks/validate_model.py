"""Third step: the model is scored once on the test films, held against the floors and the champion, and reported."""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

import pneumonia
from pneumonia.config.schema import Config
from pneumonia.data import packing
from pneumonia.data.audit.report import AuditReport
from pneumonia.data.manifest import Manifest
from pneumonia.evaluation import gate
from pneumonia.evaluation.shortcut_ablation import measure_dependence
from pneumonia.files import write_text
from pneumonia.modelling.device import cpu_threads, pick_device, pick_precision
from pneumonia.modelling.network import load_model
from pneumonia.modelling.scoring import score_images
from pneumonia.progress import Progress, silent
from pneumonia.records.base import Document
from pneumonia.records.evaluation import Metric, ShortcutDependence, Verdict
from pneumonia.records.model import ModelRecord
from pneumonia.records.steps import Dataset, TrainedModel, Validation
from pneumonia.registry import models
from pneumonia.reporting import report
from pneumonia.reporting.plots import plots
from pneumonia.statistics.metrics import compute_curves, compute_metrics, paired_differences
from pneumonia.tracking.client import download_artifact
from pneumonia.tracking.run import Run


def validate_model(dataset: Dataset, trained: TrainedModel, config: Config, progress: Progress = silent) -> Validation:
    """Judge a trained model on the test folder.

    The verdict is a return value: a model that is no better than the champion is a normal outcome. Run again after the
    model has become champion, the step hands back the verdict that made it so.

    Raises:
        PneumoniaError: the weights, the films or the tracking server cannot be used.
    """
    uri = trained.tracking_uri
    path = Path(trained.weights).parent / "validation.json"
    champion = models.champion(uri, config.model.name)
    if (done := _done(path, trained, champion, config)) is not None:
        return done
    run = Run.attach(uri, trained.run_id)
    try:
        validation = _validate(dataset, trained, config, champion, progress, run)
    except BaseException:
        run.finish("FAILED")
        raise
    run.finish()
    write_text(path, _Kept(settings=_settings(config), validation=validation).model_dump_json(indent=2))
    return validation


class _Kept(Document):
    settings: str
    validation: Validation


def _settings(config: Config) -> str:
    return config.model_dump_json(include={"evaluate", "gate"})


def _done(path: Path, trained: TrainedModel, champion: models.Version | None, config: Config) -> Validation | None:
    if champion is None or champion.run_id != trained.run_id or not path.exists():
        return None
    kept = _Kept.model_validate_json(path.read_text(encoding="utf-8"))
    same = kept.settings == _settings(config) and champion.weights_digest == trained.weights_digest
    return kept.validation if same else None


@dataclass(frozen=True)
class _Test:
    """The test films: their rows in the manifest, labels and patients."""

    manifest: Manifest
    rows: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.manifest.labels[self.rows]

    @property
    def patients(self) -> list[str]:
        patients = self.manifest.patients
        return [patients[row] for row in self.rows]

    @property
    def paths(self) -> list[str]:
        return [self.manifest.entries[row].path for row in self.rows]


def _validate(
    dataset: Dataset,
    trained: TrainedModel,
    config: Config,
    champion: models.Version | None,
    progress: Progress,
    run: Run,
) -> Validation:
    manifest = Manifest.load(Path(dataset.manifest))
    test = _Test(manifest, manifest.indices("test"))
    reads = run.count_test_read(dataset.digest)
    progress(0.1, 1.0, f"scoring {len(test.rows)} test films")
    network, record = load_model(Path(trained.weights))
    films = np.load(dataset.pixels, mmap_mode="r")
    scores = score_images(network, films, test.rows, config.train)
    progress(0.5, 1.0, "bootstrap by patient")
    figures = compute_metrics(test.labels, scores, test.patients, record.threshold, config.evaluate)
    progress(0.55, 1.0, "scoring again without each shortcut")
    reliance = _reliance(network, films, test, record, config)
    falls = {cue: found.separation for cue, found in reliance.items()}
    if champion is None:
        verdict = gate.judge(figures, config.gate, reliance=falls)
    else:
        progress(0.6, 1.0, f"comparing with the champion, version {champion.version}")
        differences, held = _differences(champion, test, scores, record, trained.tracking_uri, config, dataset)
        verdict = gate.judge(
            figures,
            config.gate,
            differences,
            champion.version,
            champion_digest=champion.weights_digest,
            same=record.is_model(held),
            reliance=falls,
        )
    progress(0.9, 1.0, "writing the report")
    counted = {"test_reads": reads, "audit_test_reads": _audit_reads(dataset)}
    page = _report(dataset, trained, config, record, test, scores, verdict, counted, reliance)
    run.log_figures(figures)
    run.log_figures(falls, "reliance_")
    run.log_metrics(counted)
    run.set_tags({"verdict": "passed" if verdict.passed else "not passed"})
    run.log_folder(page.parent, "report")
    return Validation(verdict=verdict, test_reads=reads, report=str(page))


def _audit_reads(dataset: Dataset) -> int:
    """How many cues the shortcut audit tried on the test films' labels."""
    found = AuditReport.model_validate_json(Path(dataset.audit).read_text(encoding="utf-8")).shortcuts
    return sum("test auroc" in row for row in found.examples)


def _reliance(
    network: nn.Module, films: NDArray[np.uint8], test: _Test, record: ModelRecord, config: Config
) -> dict[str, ShortcutDependence]:
    device = pick_device(config.train)
    with cpu_threads(config.train.threads):
        return measure_dependence(
            network.to(device),
            films[test.rows],
            test.labels,
            test.patients,
            record.preprocess,
            config.evaluate,
            device=device,
            precision=pick_precision(config.train, device),
        )


def _differences(
    champion: models.Version,
    test: _Test,
    scores: NDArray[np.float64],
    candidate: ModelRecord,
    uri: str,
    config: Config,
    dataset: Dataset,
) -> tuple[dict[str, Metric], ModelRecord]:
    """Score the champion on the same films, seen through its own preprocessing; and its record."""
    with tempfile.TemporaryDirectory() as folder:
        weights = download_artifact(uri, champion.run_id, "weights/model.safetensors", Path(folder))
        network, held = load_model(weights)
    packed = packing.pack(Path(dataset.root), config.data, held.preprocess, Path(config.work))
    row = {entry.path: index for index, entry in enumerate(packed.manifest.entries)}
    rows = np.array([row[path] for path in test.paths], dtype=np.int64)
    others = score_images(network, packed.pixels, rows, config.train)
    differences = paired_differences(
        test.labels, scores, others, test.patients, candidate.threshold, config.evaluate, threshold_b=held.threshold
    )
    return differences, held


def _report(
    dataset: Dataset,
    trained: TrainedModel,
    config: Config,
    record: ModelRecord,
    test: _Test,
    scores: NDArray[np.float64],
    verdict: Verdict,
    reads: Mapping[str, int],
    reliance: Mapping[str, ShortcutDependence],
) -> Path:
    folder = Path(trained.weights).parent / "report"
    data = report.DataUsed(
        phantom=record.phantom,
        root=dataset.root,
        digest=dataset.digest,
        split_digest=dataset.split_digest,
        dvc_md5=dataset.dvc_md5,
        counts=dataset.counts,
        patients=_patients(test.manifest),
        unreadable=len(dataset.unreadable),
        **reads,
    )
    used = report.ModelUsed(
        name=config.model.name,
        weights_digest=trained.weights_digest,
        threshold=record.threshold,
        best_epoch=trained.best_epoch,
        run_id=trained.run_id,
        git_commit=pneumonia.git_commit(),
    )
    curves = compute_curves(test.labels, scores, record.threshold)
    pictures = plots(
        folder, trained.epochs, curves, verdict.figures, phantom=record.phantom, best_epoch=trained.best_epoch
    )
    write_text(folder / "verdict.json", verdict.model_dump_json(indent=2))
    write_text(folder / "scores.csv", _table(test, scores))
    return write_text(
        folder / "report.md", report.markdown(data, used, config, trained.epochs, verdict, pictures, reliance)
    )


def _patients(manifest: Manifest) -> dict[str, int]:
    pairs = {(entry.split, entry.label, entry.patient) for entry in manifest.entries}
    return dict(sorted(Counter(split for split, _, _ in pairs).items()))


def _table(test: _Test, scores: NDArray[np.float64]) -> str:
    """One line a test film, so that any figure of the report can be computed again."""
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(["path", "patient", "label", "probability"])
    writer.writerows(zip(test.paths, test.patients, test.labels.tolist(), map(repr, scores.tolist()), strict=True))
    return page.getvalue()
