"""Measure how well the class can be predicted from shortcut features, which are unrelated to the lungs.

A classifier is fitted to the measures of one shortcut feature (`pneumonia.data.audit.shortcut_features`), then to those
of all. It is cross-validated by patient inside the training folders, and then trained on all of them and evaluated on
the test folder: a feature that predicts the class in training only does not generalise. This reads the test folder's
labels, without any model under test, and no choice depends on the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import DataConfig, EvaluationConfig
from pneumonia.data.audit import shortcut_features
from pneumonia.data.audit.checks import Finding
from pneumonia.data.manifest import Manifest
from pneumonia.statistics.metrics import Scored, compute_metrics

FOLDS = 5
MIN_LOWER_END = 0.6
"""What the interval's lower end must exceed too, so that a few images flag no feature by chance."""
TOGETHER = "all together"
Folds = list[tuple[NDArray[np.intp], NDArray[np.intp]]]
"""The rows to fit and the rows to score, of each fold."""
DESCRIPTIONS = {
    "encoding": (
        "JPEG quantisation and compression",
        "the classes were saved by different devices or with different settings",
        "images are compressed and blurred at random in training (augment.jpeg, augment.blur)",
    ),
    "size": (
        "width and height",
        "the classes were acquired or cropped at different sizes; after reduction a difference of detail remains",
        "images are resized to one size, and scaled and blurred at random in training (augment.scale, augment.blur)",
    ),
    "aspect": (
        "aspect ratio",
        "the classes have different shapes; after the resize to a square the chest is stretched differently",
        "the aspect is changed at random in training (augment.aspect)",
    ),
    "brightness": (
        "grey levels",
        "the classes were exposed or windowed differently; a part of it may be the disease itself, which is bright",
        "histograms are equalised (preprocess.equalize), and gamma and contrast changed at random in training",
    ),
    "border": (
        "border",
        "images of one class have a frame, a strip or an edge that the others lack",
        "images are shifted and scaled at random in training (augment.shift, augment.scale)",
    ),
    "mark": (
        "corner mark",
        "images of one class have something bright in a corner: a letter, a stamp, a clip",
        "images are mirrored, shifted and scaled at random in training; mask the marks where possible",
    ),
    "sharpness": (
        "sharpness",
        "the classes differ in fine detail: by the device, the noise or the number of compressions",
        "images are blurred, compressed and given noise in training (augment.blur, augment.jpeg, augment.noise)",
    ),
    TOGETHER: (
        "all features together",
        "how well the class can be predicted without the lungs",
        "see each feature, above",
    ),
}
"""By shortcut feature: its name, its meaning, and the countermeasure of profile full."""


def detect_shortcuts(
    manifest: Manifest, pixel_measures: NDArray[np.float32], config: DataConfig, *, test_folder: bool = False
) -> Finding:
    """Measure how well each shortcut feature predicts the class, in the training folders.

    Args:
        manifest: images with their split; unused ones count as training images.
        pixel_measures: float32 [N, image_statistics.COUNT], in the manifest's order.
        config: ``shortcut_auroc``, from which a feature is flagged.
        test_folder: evaluate each feature on the test folder too, which reads the labels of the release set.

    Returns:
        A finding that does not stop the pipeline: the gate tests whether a model depends on a shortcut. One example for
        each feature and one for all together, with the AUROC in cross-validation and, where asked for, on the test
        folder, each with its 95 % interval.
    """
    measures = shortcut_features.feature_table(manifest.entries, pixel_measures)
    measures[TOGETHER] = np.concatenate([measures[feature] for feature in shortcut_features.FEATURES], axis=1)
    train = np.flatnonzero([entry.folder != "test" for entry in manifest.entries])
    test = np.flatnonzero([test_folder and entry.folder == "test" for entry in manifest.entries])
    folds = _folds(manifest.labels[train], [manifest.groups[row] for row in train])
    rows = [_row(feature, values, manifest, train, test, folds, config) for feature, values in measures.items()]
    flagged = [row for row in rows if row["flagged"] and row["feature"] != TOGETHER]
    named = ", ".join(f"{DESCRIPTIONS[row['feature']][0]} (AUROC {row['auroc']:.2f})" for row in flagged)
    return Finding(
        ok=not flagged,
        stops=False,
        count=len(flagged),
        summary=(
            f"the class can be predicted without the lungs, from {named}"
            if flagged
            else "no feature predicts the class"
        ),
        examples=rows,
    )


def _row(
    feature: str,
    values: NDArray[np.float64],
    manifest: Manifest,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    folds: Folds,
    config: DataConfig,
) -> dict[str, Any]:
    labels, patients = manifest.labels, manifest.groups
    scored = [("", train, _cross_validated(values[train], labels[train], folds))]
    if len(test):
        scored.append(("test ", test, _fit(values[train], labels[train])(values[test])))
    name, meaning, remedy = DESCRIPTIONS[feature]
    row: dict[str, Any] = {"feature": feature, "name": name}
    for prefix, rows, scores in scored:
        metric = _auroc(labels[rows], scores, [patients[at] for at in rows])
        row |= {f"{prefix}{key}": value for key, value in metric.items()}
    row["flagged"] = row["auroc"] >= config.shortcut_auroc and row["low"] > MIN_LOWER_END
    return row | {"meaning": meaning, "remedy": remedy}


def _auroc(labels: NDArray[np.int64], scores: NDArray[np.float64], patients: Sequence[str]) -> dict[str, float]:
    metric = compute_metrics(Scored(labels, scores, patients), EvaluationConfig(bootstrap=300))["auroc"]
    return {"auroc": round(metric.value, 3), "low": round(metric.low, 3), "high": round(metric.high, 3)}


def _folds(labels: NDArray[np.int64], patients: Sequence[str]) -> Folds:
    """Divide images into folds by patient; once for all features, because it takes longer than all their fits."""
    from sklearn.model_selection import StratifiedGroupKFold

    patient = np.unique(np.asarray(patients), return_inverse=True)[1]
    fewest = min(len(np.unique(patient[labels == label])) for label in (0, 1))
    folds = StratifiedGroupKFold(max(2, min(FOLDS, fewest)), shuffle=True, random_state=0)
    return list(folds.split(labels, labels, patient))


def _cross_validated(values: NDArray[np.float64], labels: NDArray[np.int64], folds: Folds) -> NDArray[np.float64]:
    """Return scores [n], 0 to 1, of images by classifiers that were not trained on the same patient.

    The scores of a fold are ranked inside it: each fold has a classifier of its own, with an offset of its own, and
    pooled probabilities of several would be in no common order.
    """
    from scipy.stats import rankdata

    scores = np.zeros(len(labels))
    for fitted, held in folds:
        ranks = rankdata(_fit(values[fitted], labels[fitted])(values[held]))  # ties share the mean of theirs
        scores[held] = (ranks - 0.5) / len(held)
    return scores


def _fit(values: NDArray[np.float64], labels: NDArray[np.int64]) -> Any:
    """Fit a logistic regression of standardised measures; return a function from measures to probabilities."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:  # a fold of very few patients
        return lambda images: np.full(len(images), float(labels[0]))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
    classifier.fit(values, labels)
    return lambda images: classifier.predict_proba(images)[:, 1]
