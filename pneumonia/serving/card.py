"""Describe the model that answers: its card as JSON, and sample images where it is one of phantoms."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from pneumonia.imaging.refusal import PHANTOM_COMMENT
from pneumonia.inference.served_model import NOTICE, PHANTOM_NOTICE, ServedModel
from pneumonia.registry import dossier_page
from pneumonia.serving.follower import Serving


def card(serving: Serving) -> dict[str, Any]:
    """Return the card of the model that answers."""
    model, champion = serving.model, serving.champion
    record, export, move = model.record, model.export, champion.move
    return {
        "model": model.name,
        "version": model.version,
        "phantom": record.phantom,
        "notice": NOTICE,
        "warnings": warnings(model),
        "threshold": record.threshold,
        "measured_on": champion.measured_on,
        "metrics": {name: metric.model_dump() for name, metric in champion.metrics.items()},
        "outside": [each.model_dump(mode="json") for each in champion.outside],
        "training": {
            "data_digest": record.data_digest,
            "dvc_md5": record.dvc_md5,
            "patients": record.training_patients,
            "profile": record.config.get("profile"),
        },
        "preprocess": record.preprocess.model_dump(),
        "precision": model.precision,
        "agreement": export.agreement.model_dump(),
        "digests": {
            "weights": record.weights_digest,
            "model": champion.model_digest,
            "export": champion.export_digest,
        },
        "promoted": None
        if move is None
        else {"who": move.who, "when": move.when, "why": move.why, "from_version": move.from_version},
        "limits": limits(model),
        "dossier": dossier_page.is_beside(model.folder),
    }


def warnings(model: ServedModel) -> list[str]:
    """Return what must be said before anything else is."""
    found = [PHANTOM_NOTICE] if model.record.phantom else []
    if model.record.config.get("profile") == "fast":
        found.append("A demonstration: trained briefly on a part of the patients, without a promise of quality.")
    return found


def limits(model: ServedModel) -> list[str]:
    """Return what the model cannot do, in sentences."""
    learnt = (
        "It learnt from synthetic images that show no patient."
        if model.record.phantom
        else "It learnt from one set of radiographs; on other scanners, hospitals and ages its probabilities may be "
        "too high or too low. The set that this project was developed on shows children of one to five years (Kermany "
        "et al. 2018)."
    )
    size = model.record.preprocess.size
    return [
        NOTICE,
        learnt,
        "It tells two classes apart, NORMAL and PNEUMONIA; other findings are neither looked for nor excluded.",
        f"It sees {size} x {size} pixels; what is smaller than that shows is not seen.",
        "The heat map shows where evidence for PNEUMONIA lies in a coarse grid; it outlines no lesion.",
        "Only frontal chest radiographs are meant; others are refused where that is noticed.",
    ]


def sample_names(model: ServedModel) -> list[str]:
    """Return the names of the sample images; none for a model of radiographs."""
    pixels = model.known.get("sample_pixels")
    if pixels is None or not model.record.phantom:
        return []
    return [f"phantom-{number}.png" for number in range(1, len(pixels) + 1)]


def sample(model: ServedModel, name: str) -> bytes | None:
    """Return a sample image as PNG, which says in its comment that it is synthetic; None where there is none."""
    names = sample_names(model)
    if name not in names:
        return None
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Comment", PHANTOM_COMMENT)
    content = io.BytesIO()
    pixels = np.asarray(model.known["sample_pixels"][names.index(name)], np.uint8)
    Image.fromarray(pixels).save(content, "PNG", pnginfo=comment)
    return content.getvalue()
