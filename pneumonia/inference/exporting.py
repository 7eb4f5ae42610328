"""Export a trained model into a folder: graphs, records and reference, each held against the network itself.

torch is imported where it is called: the folder is read without it.
"""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from pneumonia.config.schema import CLASSES
from pneumonia.data.layout import is_ingested
from pneumonia.data.manifest import Manifest
from pneumonia.data.phantom import dataset
from pneumonia.errors import DataError
from pneumonia.files import atomic_folder
from pneumonia.imaging.image_statistics import describe_images
from pneumonia.imaging.preprocessing import equalize
from pneumonia.inference.engine import Engine, Outputs
from pneumonia.inference.reference import HeldOutImages, ReferenceImages, build_reference
from pneumonia.progress import Progress, silent
from pneumonia.records.export import (
    EXPORT_RECORD,
    FILES,
    GRAPHS,
    MODEL_RECORD,
    REFERENCE,
    Agreement,
    ExportRecord,
    Precision,
    read_model_record,
)
from pneumonia.records.model import ModelRecord
from pneumonia.registry.mirror import read_export
from pneumonia.source_digest import source_digest
from pneumonia.timing import timed

if TYPE_CHECKING:
    from torch import nn

FP32_TOLERANCE = 1e-4
"""Largest difference of a logit of the float32 graph from the network's."""
INT8_LABELS, INT8_AUROC = 0.995, 0.002
"""Smallest share of equal labels, and largest loss of AUROC, with which the int8 graph is served."""
CALIBRATION_IMAGES, COMPARED_IMAGES, REFERENCE_IMAGES = 128, 128, 1000
"""Training images that the ranges of int8 are taken from, validation images on which the network itself is computed,
and training images of the reference."""
FROM_THE_PLACE = 110
"""Validation images from the place of use, from which on these alone stand for it; before, all do."""
SAMPLES, SAMPLE_SEED = 8, 271_828

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledImages:
    """Images of a split.

    Attributes:
        pixels: uint8 [N, S, S], preprocessed; usually memory-mapped.
        rows: int64 [n], the rows of `pixels` that these are.
        statistics: float32 [n, 30], `pneumonia.imaging.image_statistics.STATISTICS`, measured before any equalisation.
        labels: int64 [n], 1 for PNEUMONIA.
        patients: int64 [n], a number for each patient.
        ingested: bool [n], the image came from the place of use (`pneumonia data ingest`).
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    statistics: NDArray[np.float32]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64]
    ingested: NDArray[np.bool_]

    @classmethod
    def of(
        cls, manifest: Manifest, pixels: NDArray[np.uint8], measures: NDArray[np.float32], split: str
    ) -> LabelledImages:
        """Take the images of a split from a packing.

        Args:
            manifest, pixels: of the packing.
            measures: float32 [N, `pneumonia.imaging.image_statistics.COUNT`], of all its images.
            split: its name in the manifest.
        """
        rows = manifest.indices(split)
        entries = [manifest.entries[row] for row in rows]
        sizes, widths, heights = (
            np.array([getattr(entry, name) for entry in entries], np.float64) for name in ("bytes", "width", "height")
        )
        statistics = describe_images([each.encoding for each in entries], sizes, widths, heights, measures[rows])
        patients = np.unique([each.patient for each in entries], return_inverse=True)[1].astype(np.int64)
        ingested = np.array([is_ingested(each.path) for each in entries], dtype=np.bool_)
        return cls(pixels, rows, statistics, manifest.labels[rows], patients, ingested)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels of some of these images, by their positions in `rows`."""
        return np.asarray(self.pixels[self.rows[chosen]])


@dataclass(frozen=True)
class ExportData:
    """The images that an export is calibrated on and checked with; none of the test folder.

    Attributes:
        train, validation: the images of these splits.
        ages: lowest and highest age of the patients in years; None where it is not known.
    """

    train: LabelledImages
    validation: LabelledImages
    ages: tuple[float, float] | None = None


def export_model(
    weights: Path, folder: Path, data: ExportData | None, threads: int = 0, progress: Progress = silent
) -> ExportRecord:
    """Export a weights file into a folder, unless the folder holds its export by the same code already.

    Args:
        weights: safetensors file with its record.
        folder: written atomically.
        data: None: the float32 graph alone, without an input check, because nothing is known of the training images.
        threads: of the engine; 0: one per core.
        progress: called with the share that is done.

    Raises:
        DataError: the float32 graph does not compute what the network does, or the files cannot be read or written.
    """
    from pneumonia.modelling import export
    from pneumonia.modelling.network import load_model

    network, record = load_model(weights)
    if (done := _finished(folder, record)) is not None:
        return done
    with atomic_folder(folder) as place:
        progress(0.0, 1.0, "exporting the float32 graph")
        export.export_fp32(network, record.preprocess.size, place / GRAPHS["fp32"])
        work = _Work(place, record, network, threads, progress)
        found = work.with_data(data) if data is not None else work.without_data()
        (place / EXPORT_RECORD).write_text(found.model_dump_json(indent=2), encoding="utf-8")
        if folder.exists():
            _remove(folder)  # of other code
    return found


def export_code() -> str:
    """Return the digest of the code that exports."""
    return source_digest("pneumonia.inference.exporting", "pneumonia.modelling.export")


def _finished(folder: Path, record: ModelRecord) -> ExportRecord | None:
    if not (folder / EXPORT_RECORD).exists():
        return None
    try:
        found = read_export(folder)
    except DataError:
        return None  # damaged: made again
    held = read_model_record(folder)
    return found if held == record and found.code == export_code() else None


def _remove(folder: Path) -> None:
    for name in (EXPORT_RECORD, *FILES):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


@dataclass(frozen=True)
class _Work:
    """One export in progress."""

    place: Path
    record: ModelRecord
    network: nn.Module
    threads: int
    progress: Progress

    def without_data(self) -> ExportRecord:
        """Write the float32 graph alone, held against the network on phantoms."""
        engine = self._engine("fp32")
        samples = sample_pixels(self.record)
        difference = self._difference(compute(engine, samples), samples)
        agreement = Agreement(
            images=0, fp32_images=len(samples), fp32_difference=difference, int8_labels=0.0, int8_auroc_difference=0.0
        )
        self._write_reference({"fp32": engine}, {})
        return self._record("fp32", "exported without its training data, so that int8 has no ranges", agreement)

    def with_data(self, data: ExportData) -> ExportRecord:
        """Write both graphs, choose one, and write the reference."""
        from pneumonia.modelling import export

        fp32 = self._engine("fp32")
        self.progress(0.2, 1.0, "holding the float32 graph against the network")
        held_out = data.validation.take(np.arange(len(data.validation)))
        compared = _spread(len(data.validation), COMPARED_IMAGES)
        exact = compute(fp32, held_out)
        difference = self._difference([exact[at] for at in compared], held_out[compared])
        self.progress(0.35, 1.0, "quantising to int8")
        images = data.train.take(_spread(len(data.train), CALIBRATION_IMAGES))
        export.export_int8(self._path("fp32"), images, self._path("int8"))
        int8 = self._engine("int8")
        self.progress(0.5, 1.0, "comparing int8 with float32 on validation images")
        scores = [exact, compute(int8, held_out)]
        agreement = _agreement(self.record, data.validation.labels, scores, len(compared), difference)
        precision, reason = _choice(agreement)
        self.progress(0.8, 1.0, "writing the reference")
        engines: dict[Precision, Engine] = {"fp32": fp32, "int8": int8}
        computed = _embeddings(scores[list(engines).index(precision)])
        logits = np.stack([each.logits for each in scores[list(engines).index(precision)]])
        validation = HeldOutImages(
            held_out,
            data.validation.statistics,
            computed,
            logits,
            data.validation.labels,
            data.validation.patients,
            _place_of_use(data.validation),
        )
        train = self._train(engines[precision], data.train)
        self._write_reference(engines, build_reference(train, validation, data.ages))
        return self._record(precision, reason, agreement)

    def _path(self, precision: Precision) -> Path:
        return self.place / GRAPHS[precision]

    def _engine(self, precision: Precision) -> Engine:
        return Engine(self._path(precision), self.record.preprocess.size, self.threads)

    def _difference(self, outputs: list[Outputs], pixels: NDArray[np.uint8]) -> float:
        """Return the largest difference between a graph's logits and the network's of the same images."""
        from pneumonia.modelling.export import logits

        found = np.stack([each.logits for each in outputs])
        difference = float(np.abs(found - logits(self.network, np.asarray(pixels))).max())
        if not difference <= FP32_TOLERANCE:
            raise DataError(
                f"the exported float32 graph differs from the network by {difference:.2g} in a logit, more than "
                f"{FP32_TOLERANCE:g}; it is not served. Report it with the versions that pneumonia doctor prints"
            )
        return difference

    def _train(self, engine: Engine, images: LabelledImages) -> ReferenceImages:
        chosen = _spread(len(images), REFERENCE_IMAGES)
        pixels = images.take(chosen)
        return ReferenceImages(pixels, images.statistics[chosen], _embeddings(compute(engine, pixels)))

    def _write_reference(self, engines: dict[Precision, Engine], arrays: dict[str, NDArray[np.generic]]) -> None:
        from pneumonia.modelling.export import last_layer

        samples = sample_pixels(self.record)
        known = {
            f"sample_logits_{precision}": np.stack([each.logits for each in compute(engine, samples)])
            for precision, engine in engines.items()
        }
        content = {**arrays, "head": last_layer(self.network), "sample_pixels": samples, **known}
        content = {name: np.ascontiguousarray(array) for name, array in content.items()}
        (self.place / REFERENCE).write_bytes(save(content))

    def _record(self, precision: Precision, reason: str, agreement: Agreement) -> ExportRecord:
        from pneumonia.modelling.export import software

        (self.place / MODEL_RECORD).write_text(self.record.model_dump_json(indent=2), encoding="utf-8")
        there = [name for name in FILES if (self.place / name).exists()]
        return ExportRecord(
            model_digest=self.record.model_digest(),
            files={name: hashlib.sha256((self.place / name).read_bytes()).hexdigest() for name in there},
            precision=precision,
            reason=reason,
            agreement=agreement,
            code=export_code(),
            software=software(),
        )


@timed("the graphs on images")
def compute(engine: Engine, pixels: NDArray[np.uint8]) -> list[Outputs]:
    """Compute images uint8 [N, S, S], as many at a time as the engine does."""
    with ThreadPoolExecutor(engine.threads) as pool:
        return list(pool.map(engine.run, pixels))


def sample_pixels(record: ModelRecord) -> NDArray[np.uint8]:
    """Return phantoms as the model takes them, uint8 [`SAMPLES`, S, S]; every second one has opacities."""
    size = record.preprocess.size
    drawn = [dataset.render(at % len(CLASSES), np.random.default_rng([SAMPLE_SEED, at]), size) for at in range(SAMPLES)]
    return np.stack([equalize(each) if record.preprocess.equalize else each for each in drawn])


def _embeddings(outputs: list[Outputs]) -> NDArray[np.float32]:
    return np.stack([each.embedding for each in outputs])


def _place_of_use(images: LabelledImages) -> NDArray[np.bool_]:
    """Return which images stand for the place of use, with which its images are compared."""
    return images.ingested if images.ingested.sum() >= FROM_THE_PLACE else np.ones(len(images), np.bool_)


def _spread(count: int, wanted: int) -> NDArray[np.int64]:
    """Return up to `wanted` positions, evenly spread over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))


def _agreement(
    record: ModelRecord, labels: NDArray[np.int64], scores: list[list[Outputs]], compared: int, difference: float
) -> Agreement:
    from sklearn.metrics import roc_auc_score

    fp32, int8 = (np.array([each.probability for each in outputs]) for outputs in scores)
    same = (fp32 >= record.threshold) == (int8 >= record.threshold)
    return Agreement(
        images=len(labels),
        fp32_images=compared,
        fp32_difference=difference,
        int8_labels=float(same.mean()),
        int8_auroc_difference=float(roc_auc_score(labels, int8) - roc_auc_score(labels, fp32)),
    )


def _choice(found: Agreement) -> tuple[Precision, str]:
    """Choose the graph that is served, and say why."""
    words = (
        f"on {found.images} validation images int8 agrees with float32 on {found.int8_labels:.2%} of the labels, "
        f"and its AUROC differs by {found.int8_auroc_difference:+.4f}"
    )
    if found.int8_labels >= INT8_LABELS and abs(found.int8_auroc_difference) <= INT8_AUROC:
        return "int8", words
    return "fp32", f"{words}; int8 needs {INT8_LABELS:.1%} and {INT8_AUROC:g}, so float32 is served"
