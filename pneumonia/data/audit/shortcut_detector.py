"""Measure how well the class can be predicted from shortcut features, which say nothing of the lungs.

A classifier sees the measures of one shortcut feature alone (`pneumonia.data.audit.shortcut_features`), then of all
together. It is cross-validated by patient inside the training folders, and trained on them and tried on the test
folder: a feature that predicts the class in training and not in the test is one that a network learns in vain. This
reads the test folder's labels, without any model, and nothing is chosen by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import DataConfig, EvaluateConfig
from pneumonia.data.audit import shortcut_features
from pneumonia.data.audit.checks import Finding
from pneumonia.data.manifest import Manifest
from pneumonia.statistics.metrics import compute_metrics

FOLDS = 5
LEAST = 0.6
"""What the interval's lower end must exceed besides, so that a few films flag nothing by chance."""
TOGETHER = "all together"
WORDS = {
    "encoding": (
        "JPEG quantisation and compression",
        "the classes were saved by different devices or with different settings",
        "films are compressed and blurred at random in training (augment.jpeg, augment.blur)",
    ),
    "size": (
        "width and height",
        "the classes were taken or cut out at different sizes; after reduction it stays as a difference of detail",
        "every film is reduced to one size, and scaled and blurred at random in training (augment.scale, augment.blur)",
    ),
    "aspect": (
        "aspect ratio",
        "the classes have different shapes; after squashing it stays as a stretched chest",
        "the aspect is changed at random in training (augment.aspect)",
    ),
    "brightness": (
        "grey levels",
        "the classes were exposed or windowed differently; a part of it may be the disease itself, which is bright",
        "histograms are equalised (preprocess.equalize), and gamma and contrast changed at random in training",
    ),
    "border": (
        "border",
        "films of one class have a frame, a strip or an edge that the others lack",
        "films are shifted and scaled at random in training (augment.shift, augment.scale)",
    ),
    "mark": (
        "corner mark",
        "something bright lies in a corner of one class's films: a letter, a stamp, a clip",
        "films are mirrored, shifted and scaled at random in training; cover the marks if that can be done",
    ),
    "sharpness": (
        "sharpness",
        "the classes differ in fine detail: by the device, by noise or by how often they were compressed",
        "films are blurred, compressed, made noisy in training (augment.blur, augment.jpeg, augment.noise)",
    ),
    TOGETHER: (
        "all cues together",
        "how well a classifier that never saw a lung could do",
        "the cues one by one, above",
    ),
}
"""By cue: its name, what it means, and what the recipe of profile full does about it."""


def detect_shortcuts(manifest: Manifest, pictures: NDArray[np.float32], config: DataConfig) -> Finding:
    """Look for shortcuts.

    Args:
        manifest: films with their split; those that are not used count as training films.
        pictures: float32 [N, cues.COUNT], in the manifest's order.
        config: ``shortcut_auroc``, from which a cue is flagged.

    Returns:
        A finding that does not stop: the models' own audit is the gate's. One example a cue and one for all together,
        with the AUROC in cross-validation and on the test folder, each with its 95 % interval.
    """
    measures = shortcut_features.feature_table(manifest.entries, pictures)
    measures[TOGETHER] = np.concatenate([measures[cue] for cue in shortcut_features.CUES], axis=1)
    train = np.flatnonzero([entry.folder != "test" for entry in manifest.entries])
    test = np.flatnonzero([entry.folder == "test" for entry in manifest.entries])
    rows = [_row(cue, values, manifest, train, test, config) for cue, values in measures.items()]
    flagged = [row for row in rows if row["flagged"] and row["cue"] != TOGETHER]
    told = ", ".join(f"{WORDS[row['cue']][0]} (AUROC {row['auroc']:.2f})" for row in flagged)
    return Finding(
        ok=not flagged,
        stops=False,
        count=len(flagged),
        summary=f"the class can be told without the lungs, by {told}" if flagged else "no cue tells the class",
        examples=rows,
    )


def _row(
    cue: str,
    values: NDArray[np.float64],
    manifest: Manifest,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    config: DataConfig,
) -> dict[str, Any]:
    labels, patients = manifest.labels, manifest.patients
    inside = _cross_validated(values[train], labels[train], [patients[row] for row in train])
    outside = _fit(values[train], labels[train])(values[test])
    name, meaning, remedy = WORDS[cue]
    row: dict[str, Any] = {"cue": cue, "name": name}
    for prefix, rows, scores in (("", train, inside), ("test ", test, outside)):
        figure = _auroc(labels[rows], scores, [patients[at] for at in rows])
        row |= {f"{prefix}{key}": value for key, value in figure.items()}
    row["flagged"] = row["auroc"] >= config.shortcut_auroc and row["low"] > LEAST
    return row | {"meaning": meaning, "remedy": remedy}


def _auroc(labels: NDArray[np.int64], scores: NDArray[np.float64], patients: Sequence[str]) -> dict[str, float]:
    figure = compute_metrics(labels, scores, patients, 0.5, EvaluateConfig(bootstrap=300))["auroc"]
    return {"auroc": round(figure.value, 3), "low": round(figure.low, 3), "high": round(figure.high, 3)}


def _cross_validated(
    values: NDArray[np.float64], labels: NDArray[np.int64], patients: Sequence[str]
) -> NDArray[np.float64]:
    """Scores [n] of films by classifiers that saw no film of the same patient; ranked within each fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    patient = np.unique(np.asarray(patients), return_inverse=True)[1]
    fewest = min(len(np.unique(patient[labels == label])) for label in (0, 1))
    scores = np.zeros(len(labels))
    folds = StratifiedGroupKFold(max(2, min(FOLDS, fewest)), shuffle=True, random_state=0)
    for fitted, held in folds.split(values, labels, patient):
        scores[held] = _fit(values[fitted], labels[fitted])(values[held])
    return scores


def _fit(values: NDArray[np.float64], labels: NDArray[np.int64]) -> Any:
    """A logistic regression of standardised measures, as a function from measures to probabilities."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:  # a fold of very few patients
        return lambda films: np.full(len(films), float(labels[0]))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
    classifier.fit(values, labels)
    return lambda films: classifier.predict_proba(films)[:, 1]
