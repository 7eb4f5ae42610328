"""What the steps hand to one another: frozen JSON documents of small values and references."""

from __future__ import annotations

from typing import Literal

from pneumonia.records.base import Document
from pneumonia.records.epoch import Epoch
from pneumonia.records.evaluation import Verdict


class Dataset(Document):
    """Films, packed and divided.

    Attributes:
        kind: what the films are.
        root: folder of the files.
        manifest, pixels, audit: paths of the table, the packed uint8 array and the audit's report (JSON).
        digest, split_digest, pixels_digest: sha256 of the data version, its division, and the films as decoded.
        dvc_md5: what `data.dvc` records for these files, None where they are not those.
        counts: films by split and class.
        unreadable: files left out on request.
    """

    kind: Literal["phantom", "radiographs"]
    root: str
    manifest: str
    pixels: str
    audit: str
    digest: str
    split_digest: str
    pixels_digest: str
    dvc_md5: str | None
    counts: dict[str, dict[str, int]]
    unreadable: tuple[str, ...] = ()


class TrainedModel(Document):
    """A finished training.

    Attributes:
        key: names the training; the same data, configuration, initial weights and library give the same one.
        run_id, tracking_uri, run_url: the MLflow run, and its page where a server shows it.
        weights, weights_digest: safetensors file with its record, and sha256 of the tensors.
        model_uri: the MLflow model.
        epochs, best_epoch, best_val_accuracy: what the training came to.
    """

    key: str
    run_id: str
    tracking_uri: str
    run_url: str | None
    weights: str
    weights_digest: str
    model_uri: str
    epochs: tuple[Epoch, ...]
    best_epoch: int
    best_val_accuracy: float


class Validation(Document):
    """A verdict on the test folder, with its report.

    Attributes:
        verdict: figures, reasons, and whether the model passed.
        test_reads: how often this experiment has scored these test films, this time included.
        report: path of the Markdown report; its pictures lie beside it.
    """

    verdict: Verdict
    test_reads: int
    report: str


class Promotion(Document):
    """What became of the model: `promoted`, or left as it was for `reason`; versions are those of the registry."""

    name: str
    promoted: bool
    version: str | None
    previous: str | None
    reason: str
