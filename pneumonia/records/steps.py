"""The results of the steps: frozen JSON documents of small values and references."""

from __future__ import annotations

from typing import Literal

from pneumonia.records.base import Document
from pneumonia.records.epoch import Epoch
from pneumonia.records.evaluation import Verdict
from pneumonia.records.export import Agreement, Precision


class Dataset(Document):
    """The result of `prepare_data`: images, packed and divided.

    Attributes:
        kind: phantoms or real radiographs.
        root: folder of the files.
        manifest, pixels, audit: paths of the table, the packed uint8 array and the audit's report (JSON).
        digest, split_digest, pixels_digest: sha256 of the data version, of its split, and of the decoded images.
        dvc_md5: the hash in `data.dvc`, None where the files are not the recorded ones.
        counts: images by split and class; of a cross-validation, "held_out" is the fold that the model is scored on,
            which is "unused" in the manifest.
        unreadable: unreadable files, left out because data.on_unreadable=skip.
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
    """The result of `train_model`: a finished training.

    Attributes:
        key, training_key: digests of all that the model and that its training depend on
            (`pneumonia.modelling.identity`).
        run_id, tracking_uri, run_url: the MLflow run, and the address of its page where a server serves one.
        weights, weights_digest: safetensors file with its record, and sha256 of the tensors.
        model_uri: the MLflow model; empty for a fold's, which is scored and never registered.
        epochs, best_epoch, best_epoch_val_accuracy: metrics of every epoch, the epoch whose weights were chosen, and
            the validation accuracy of these.
        finished_at: when the training was completed, ISO 8601 in UTC.
        computed_with: every device, precision and number of threads that it was computed with.
    """

    key: str
    training_key: str
    run_id: str
    tracking_uri: str
    run_url: str | None
    weights: str
    weights_digest: str
    model_uri: str
    epochs: tuple[Epoch, ...]
    best_epoch: int
    best_epoch_val_accuracy: float
    finished_at: str
    computed_with: tuple[str, ...]


class ExportedModel(Document):
    """The result of `export_model`: the graphs that are served.

    Attributes:
        folder: holds the files of `pneumonia.records.export.FILES` and their record.
        export_digest: of that record.
        precision: of the graph that is served by default.
        reason: why, in words.
        agreement: of the graphs with the network and with each other, on validation images.
    """

    folder: str
    export_digest: str
    precision: Precision
    reason: str
    agreement: Agreement


class Validation(Document):
    """The result of `validate_model`: the verdict, with its report.

    Attributes:
        verdict: metrics, reasons, and whether the model passed.
        openings: how often the release set has been opened so far, this time included; None: it was not opened.
        report: path of the Markdown report; its plots are in the same folder.
    """

    verdict: Verdict
    openings: int | None
    report: str


class BuiltDossier(Document):
    """The result of `build_dossier`: what shows how the model earned its place, and the manifest of its files.

    Attributes:
        folder, page: the dossier's folder, and its page in it.
        digest: sha256 of the dossier's JSON document.
        manifest_digest: sha256 of the manifest, which lists the digests of weights, export, report and dossier.
        signed: whether somebody has signed the manifest.
    """

    folder: str
    page: str
    digest: str
    manifest_digest: str
    signed: bool


class Promotion(Document):
    """The result of `promote_model`: whether the model was promoted, and the reason.

    Attributes:
        name: registered model.
        version, previous: versions in the registry: the new champion (None where nothing was promoted), and the one
            that was champion before, or is where nothing was promoted.
        validate_again: nothing was promoted because the model was compared with another champion than there is now.
    """

    name: str
    promoted: bool
    version: str | None
    previous: str | None
    reason: str
    validate_again: bool = False
