"""Describe the model and its data as components of a CycloneDX 1.6 document."""

from __future__ import annotations

from typing import Any

from pneumonia.records.dossier import Dossier
from pneumonia.records.evaluation import Metric
from pneumonia.records.model import WEIGHTS_ARTIFACT

MODEL, DATA = "model", "data"
"""References of the two components."""
SHOWN = ("auroc", "sensitivity", "specificity", "ece_balanced")
Part = dict[str, Any]


def model_component(dossier: Dossier) -> Part:
    """Return the model, with its card: use, limits, and metrics with intervals."""
    record = dossier.record
    weights = next((file for file in dossier.files if file.path == WEIGHTS_ARTIFACT), None)
    part: Part = {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": dossier.name,
        "version": dossier.version or record.model_digest()[:12],
        "description": "Probability of PNEUMONIA on a frontal chest radiograph; not a medical device",
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "classification",
                "architectureFamily": "convolutional neural network",
                "modelArchitecture": record.architecture,
                "datasets": [{"ref": DATA}],
                "inputs": [{"format": dossier.card.inputs}],
                "outputs": [{"format": dossier.card.output}],
            },
            "quantitativeAnalysis": {"performanceMetrics": _metrics(dossier)},
            "considerations": {
                "useCases": list(dossier.card.intended),
                "technicalLimitations": [
                    *dossier.card.not_for,
                    *(f"{each.topic}: {each.text}" for each in dossier.weaknesses),
                ],
            },
        },
        "properties": [
            {"name": "pneumonia:model_digest", "value": record.model_digest()},
            {"name": "pneumonia:weights_digest", "value": record.weights_digest},
            {"name": "pneumonia:run_id", "value": dossier.run_id},
            {"name": "pneumonia:phantom", "value": str(record.phantom).lower()},
        ],
    }
    if weights is not None:
        part["hashes"] = [{"alg": "SHA-256", "content": weights.sha256}]
        part["properties"].append({"name": "pneumonia:hash", "value": f"of the file {weights.path} of the run"})
    return part


def data_component(dossier: Dossier) -> Part:
    """Return the images that the model was made from and measured on."""
    data = dossier.data
    part: Part = {
        "type": "data",
        "bom-ref": DATA,
        "name": data.title,
        "version": data.data_digest[:12],
        "description": data.population or "who is on the images is not recorded",
        "hashes": [{"alg": "SHA-256", "content": data.data_digest}],
        "properties": [
            {"name": "pneumonia:hash", "value": "of the manifest's values, which hold each file's sha256"},
            {"name": "pneumonia:split_digest", "value": data.split_digest},
            {"name": "pneumonia:dvc_md5", "value": data.dvc_md5 or "none"},
        ],
    }
    if data.licence:
        known = data.licence == "CC BY 4.0"
        part["licenses"] = [{"license": {"id": "CC-BY-4.0"} if known else {"name": data.licence}}]
    return part


def _metrics(dossier: Dossier) -> list[Part]:
    """Return the metrics, those of other places first."""
    found = [
        _metric(name, metric, f"outside set {each.name}")
        for each in dossier.outside
        for name, metric in each.metrics.items()
        if name in SHOWN
    ]
    if dossier.verdict is not None:
        metrics = dossier.verdict.metrics
        found += [_metric(name, metrics[name], dossier.verdict.measured_on) for name in SHOWN if name in metrics]
    return found


def _metric(name: str, metric: Metric, where: str) -> Part:
    low, high = (f"{end:.6g}" for end in (metric.low, metric.high))
    return {
        "type": name,
        "value": f"{metric.value:.6g}",
        "slice": where,
        "confidenceInterval": {"lowerBound": low, "upperBound": high},
    }
