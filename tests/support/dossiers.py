"""A dossier for tests, made by hand, of a model of radiographs of which everything is known."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pneumonia.evidence import checklists
from pneumonia.evidence.checklists import answer
from pneumonia.evidence.model_card import model_card
from pneumonia.evidence.weaknesses import find_weaknesses
from pneumonia.records.assessment import (
    Assessment,
    AutomaticNegatives,
    Case,
    DecisionPoint,
    PredictiveValues,
    Robustness,
    RobustnessRow,
    SelectivePoint,
    Slice,
)
from pneumonia.records.cross_validation import CrossValidated, CrossValidation
from pneumonia.records.dossier import (
    AuditCheck,
    BundleFile,
    DataSheet,
    Dossier,
    Environment,
    LedgerEntry,
    Picture,
    ReleaseOpening,
    SbomSummary,
    ShortcutFeature,
    SplitCounts,
)
from pneumonia.records.evaluation import Bin, Metric, OutsideMetrics, Reason, ShortcutDependence, Verdict
from tests.support.trained import record_of

NAME = "pneumonia-resnet18"
WHEN = "2026-01-02T03:04:05+00:00"
GOOD = {
    "auroc": Metric(value=0.99, low=0.98, high=0.995),
    "sensitivity": Metric(value=0.96, low=0.93, high=0.98),
    "specificity": Metric(value=0.95, low=0.92, high=0.97),
}
FILES = (
    *("weights/model.safetensors", "config.json", "data/manifest.csv", "data/audit.json", "report/report.md"),
    *("report/verdict.json", "report/scores.csv", "report/assessment.json", "report/dependence.json"),
    *("report/roc.png", "report/errors.png", "export/export.json", "export/record.json", "export/model.fp32.onnx"),
    "export/reference.safetensors",
)


def metric(value: float, width: float = 0.02) -> Metric:
    return Metric(value=value, low=max(0.0, value - width / 2), high=min(1.0, value + width / 2))


def a_slice(value: str, sensitivity: Metric, images: int = 100) -> Slice:
    return Slice(
        group="brightness",
        value=value,
        images=images,
        positives=images // 2,
        negatives=images - images // 2,
        patients=images // 2,
        metrics=GOOD | {"sensitivity": sensitivity},
    )


def assessment(**changes: Any) -> Assessment:
    values: dict[str, Any] = {
        "measured_on": "release set",
        "images": 624,
        "positives": 390,
        "negatives": 234,
        "patients": 360,
        "threshold": 0.5,
        "confidence": 0.95,
        "prevalence": 0.1,
        "metrics": GOOD,
        "predictive_values": [PredictiveValues(prevalence=0.5, ppv=metric(0.95), npv=metric(0.96))],
        "decision_curve": [DecisionPoint(threshold=0.1, model=0.6, all_positive=0.58)],
        "reliability": [Bin(low=0.9, high=1.0, n=300, predicted=0.97, observed=0.96)],
        "selective": [SelectivePoint(coverage=0.5, images=312, error=metric(0.01))],
        "automatic_negatives": [
            AutomaticNegatives(below=0.1, images=150, share=0.24, missed=1, npv=0.993, npv_low=0.97)
        ],
        "slices": [a_slice("dark", GOOD["sensitivity"]), a_slice("bright", metric(0.95))],
        "worst_errors": [
            Case(path="test/NORMAL/a.jpeg", label="NORMAL", probability=0.7, patient="n1", sha256="a" * 64)
        ],
        "most_confident": [],
    }
    return Assessment.model_validate(values | changes)


def robustness(fallen: float = 0.95, reference: dict[str, Metric] | None = None) -> Robustness:
    row = RobustnessRow(
        change="blur",
        strength=2,
        amount="standard deviation of 1.5 pixels",
        metrics=GOOD | {"specificity": metric(fallen)},
    )
    return Robustness(
        measured_on="the release set",
        when=WHEN,
        weights_digest="w" * 64,
        threshold=0.5,
        confidence=0.95,
        images=200,
        positives=100,
        rows_digest="r" * 64,
        seed=0,
        reference=reference or GOOD,
        rows=(row,),
    )


def cross_validation() -> CrossValidation:
    over = CrossValidated(mean=0.985, sd=0.004, low=0.981, high=0.989, values=(0.98, 0.985, 0.99))
    return CrossValidation(
        recipe="c" * 64,
        data_digest="d",
        phantom=False,
        folds=3,
        seeds=(0,),
        results=(),
        metrics={"auroc": over},
        pooled={"auroc": GOOD["auroc"]},
        run_id="c" * 32,
        finished_at=WHEN,
        config={},
    )


def verdict(*reasons: Reason, **changes: Any) -> Verdict:
    given = reasons or (Reason(name="auroc", passed=True, text="at least 0.9", value=0.98, limit=0.9),)
    return Verdict(passed=all(each.passed for each in given), reasons=given, metrics=GOOD, policy="p" * 64, **changes)


def outside(auroc: float = 0.985) -> OutsideMetrics:
    return OutsideMetrics(
        name="elsewhere",
        when=WHEN,
        rows="r" * 64,
        counts={"NORMAL": 100, "PNEUMONIA": 100},
        patients=200,
        threshold=0.5,
        metrics=GOOD | {"auroc": metric(auroc)},
    )


def bare(**changes: Any) -> Dossier:
    """A dossier whose numbers show no weakness, without weaknesses and checklists."""
    record = record_of(NAME, "w" * 64, calibration={"temperature": 1.0, "bias": 0.0, "threshold": 0.5})
    data = DataSheet(
        title="Chest X-Ray Images (Pneumonia)",
        source="a place",
        licence="CC BY 4.0",
        population="children",
        labels="two readers",
        data_digest="d" * 64,
        split_digest="s" * 64,
        pixels_digest="x" * 64,
        dvc_md5="5" * 32 + ".dir",
        release_rows="r" * 64,
        splits=(
            SplitCounts(split="test", use="the release set", classes={"NORMAL": 234, "PNEUMONIA": 390}, patients=360),
        ),
        known_by={"published file names": 624},
        encodings={"JPEG L": 624},
    )
    fall = ShortcutDependence(
        separation=metric(0.02), normal=metric(0.01), pneumonia=metric(0.01), beyond_control=metric(0.01)
    )
    values: dict[str, Any] = {
        "name": NAME,
        "version": "3",
        "aliases": ("champion",),
        "run_id": "1" * 32,
        "made_at": WHEN,
        "phantom": False,
        "demo": False,
        "record": record,
        "card": model_card(record, data, None),
        "data": data,
        "outside": (outside(),),
        "verdict": verdict(),
        "policy": None,
        "assessment": assessment(),
        "dependence": {"border": fall},
        "openings": (
            ReleaseOpening(
                when=WHEN, who="ada", purpose="gate", model=NAME, weights="w" * 64, demo=False, this_model=True
            ),
        ),
        "moves": (LedgerEntry(when=WHEN, who="ada", why="better", action="promote", from_version="2", to_version="3"),),
        "cross_validation": cross_validation(),
        "robustness": robustness(),
        "audit": (AuditCheck(name="counts", outcome="ok", count=624, summary="624 images"),),
        "shortcut_features": (
            ShortcutFeature(
                name="border", auroc=0.5, low=0.45, high=0.55, flagged=False, meaning="a frame", remedy="shift"
            ),
        ),
        "environment": Environment(
            of="the model's making",
            python="3.11.7",
            platform="Linux",
            processor="x86_64",
            features=("avx2",),
            cores=2,
            libraries={"torch": "2.13.0"},
            locks=(BundleFile(path="requirements.lock", sha256="l" * 64, size=1),),
            commit="c" * 40,
            clean=True,
        ),
        "sbom": SbomSummary(sha256="b" * 64, specification="CycloneDX 1.6", packages=2, hashed=2, licences={"MIT": 2}),
        "files": tuple(BundleFile(path=name, sha256=f"{at:064x}", size=at) for at, name in enumerate(FILES)),
        "pictures": (Picture(path="report/roc.png", title="ROC curve", alt="ROC curve of 0.99", section="inside"),),
        "commands": dict.fromkeys(("outside", "robustness", "cross_validation", "verify", "reproduce"), "pneumonia …"),
    }
    return Dossier.model_validate(values | changes)


def whole(**changes: Any) -> Dossier:
    """The same with its weaknesses and checklists."""
    found = bare(**changes)
    found = found.model_copy(update={"weaknesses": find_weaknesses(found)})
    return found.model_copy(update={"checklists": answer(found)})


def ruled_files() -> set[str]:
    """The files that the checklists ask for."""
    folder = Path(checklists.__file__).parent
    rules = [rule for name in checklists.FILES for rule in tomllib.loads((folder / name).read_text())["item"]]
    return {name for rule in rules for name in rule.get("files", [])}
