"""Score images with a model from the registry, from a run or from a file. Not a medical device."""

from __future__ import annotations

import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES, Config
from pneumonia.config.service import ServingConfig
from pneumonia.errors import DataError
from pneumonia.imaging.radiograph import Radiograph, UnreadableRadiograph, load, read
from pneumonia.inference.model_source import Found, find_model
from pneumonia.inference.served_model import Answer, ServedModel, refusal
from pneumonia.progress import Progress, silent
from pneumonia.records.model import ModelRecord

BATCH = 64
"""Images that are in memory at a time."""
AHEAD = 16
"""Files that are read before they are computed, from a place that answers slowly and often."""

logger = logging.getLogger(__name__)


class Predictor:
    """A model with all that is needed to use it as it is served.

    Attributes:
        model: the exported model.
        name: registered name, or the record's where the model is not from the registry.
        version: registered version; otherwise ``run:<id>`` or ``sha256:<first 12 digits of the weights' digest>``.
        config: how it is run.
        own_threshold: of the model's record, whatever is used.
    """

    def __init__(self, found: Found, config: ServingConfig) -> None:
        self.model = ServedModel(found.folder, found.name, found.version, config)
        self.name, self.version, self.config = found.name, found.version, config
        self.own_threshold = self.record.threshold
        if self.record.phantom:
            logger.warning(
                "%s %s was trained on phantoms; its scores of real images mean nothing", self.name, self.version
            )

        if self.model.checks_input and not self.model.compares:
            logger.warning(
                "%s %s was exported without its training images; pictures that are no chest radiographs are scored too",
                self.name,
                self.version,
            )

    @classmethod
    def load(cls, source: str | None, config: Config) -> Predictor:
        """Load a model.

        Args:
            source: ``models:/name@alias``, ``models:/name/3``, ``models:/m-…``, ``runs:/id`` or a ``.safetensors``
                file; by default the champion that `config.serving.model` names.
            config: names the tracking store, the work folder, and how the model is run.

        Raises:
            ConfigError: `source` is none of these.
            PneumoniaError: there is no such model, or its files differ from the registered ones.
            TrackingError: the store cannot be used.
        """
        return cls(find_model(source, config), config.serving)

    @property
    def record(self) -> ModelRecord:
        """Preprocessing, threshold and origin."""
        return self.model.record

    def use_threshold(self, threshold: float) -> None:
        """Classify at another threshold than the model's own."""
        self.model.record = self.record.model_copy(update={"threshold": threshold})

    def score(
        self,
        files: Sequence[Path | str],
        progress: Progress = silent,
        accept: Callable[[Sequence[dict[str, Any]]], None] | None = None,
        on_image: Callable[[str, Radiograph], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Score images.

        Args:
            files: JPEG, PNG or DICOM.
            progress: called with the images done and all images; where `accept` is given, first for all that are read.
            accept: called with the refusals once every image is read and before any is scored; it may raise.
            on_image: called with each file that is read and its image, in order; only where `accept` is given.

        Returns:
            One object per file, in order: the answer of `ServedModel.document` with the key ``file``; with `accept`
            without an input check, ``{file, probability, decision, threshold, model, version}``.

        Raises:
            DataError: no space for the images that are read before they are scored.
        """
        if accept is not None:
            return self._read_then_score(files, progress, accept, on_image)
        results = []
        for result in self.stream(files):
            results.append(result)
            progress(len(results), len(files))
        return results

    def stream(self, files: Sequence[Path | str]) -> Iterator[dict[str, Any]]:
        """Score images one after the other, in order, with as many at a time as there are threads."""
        with ThreadPoolExecutor(self.model.threads) as pool:
            for start in range(0, len(files), BATCH):
                yield from pool.map(self.answer, files[start : start + BATCH])

    def stream_from(self, names: Sequence[str], read: Callable[[str], bytes]) -> Iterator[dict[str, Any]]:
        """Score images by name, in order, while the next ones are being read.

        Args:
            names: of the images.
            read: returns the content of one, or raises `UnreadableRadiograph`; called by `AHEAD` threads at a time.
        """
        waiting: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(AHEAD) as readers, ThreadPoolExecutor(self.model.threads) as pool:
            try:
                for name in names:
                    waiting.append(pool.submit(self._answer_read, name, readers.submit(read, name)))
                    if len(waiting) >= AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for each in waiting:
                    each.cancel()

    def _answer_read(self, name: str, content: Future[bytes]) -> dict[str, Any]:
        try:
            answer = self.model.answer(content.result(), name)
        except UnreadableRadiograph as error:
            answer = refusal(error)
        return {"file": name} | self.model.document(answer)

    def answer(self, file: Path | str) -> dict[str, Any]:
        """Score one image; see `score`."""
        return {"file": str(file)} | self.model.document(self.examine(file))

    def examine(self, file: Path | str) -> Answer:
        """Return the whole answer about one image, with pixels and outputs."""
        try:
            content = load(file)
        except UnreadableRadiograph as error:
            return refusal(error)
        return self.model.answer(content, str(file))

    def _read_then_score(
        self,
        files: Sequence[Path | str],
        progress: Progress,
        accept: Callable[[Sequence[dict[str, Any]]], None],
        on_image: Callable[[str, Radiograph], None] | None,
    ) -> list[dict[str, Any]]:
        """Read all images into a temporary file, so that none is decoded twice and memory stays as it is."""
        size = self.record.preprocess.size
        results: list[dict[str, Any]] = []
        with tempfile.TemporaryFile(prefix="pneumonia-") as store, ThreadPoolExecutor(self.model.threads) as pool:
            for start in range(0, len(files), BATCH):
                for result, image in pool.map(self._read, files[start : start + BATCH]):
                    results.append(result)
                    if image is not None:
                        _append(store, image.pixels)
                        if on_image is not None:
                            on_image(result["file"], image)
                    progress(len(results), len(files), "reading")
            usable = [result for result in results if "refused" not in result]
            accept([result for result in results if "refused" in result])
            store.seek(0)
            scored = 0
            while content := store.read(BATCH * size**2):
                scores = self.probabilities(np.frombuffer(content, np.uint8).reshape(-1, size, size))
                self._add_scores(usable[scored:], scores)
                scored += len(scores)
                progress(scored, len(usable), "scoring")
        return results

    def _read(self, file: Path | str) -> tuple[dict[str, Any], Radiograph | None]:
        """Return the result so far, and an image that is not refused."""
        try:
            image = read(file, self.record.preprocess)
        except UnreadableRadiograph as error:
            return {"file": str(file), "refused": True, "reason": f"{error.reason}; {error.remedy}"}, None
        return {"file": str(file)} | ({"notes": list(image.notes)} if image.notes else {}), image

    def _add_scores(self, results: Sequence[dict[str, Any]], scores: NDArray[np.float64]) -> None:
        """Complete the results of the first images with their scores."""
        for result, probability in zip(results, scores.tolist(), strict=False):
            result |= {
                "probability": probability,
                "decision": CLASSES[int(probability >= self.record.threshold)],
                "threshold": self.record.threshold,
                "model": self.name,
                "version": self.version,
            }

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Compute the probability of PNEUMONIA of images that were read with the record's preprocessing.

        Args:
            pixels: uint8 [N, size, size].

        Returns:
            float64 [N].
        """
        with ThreadPoolExecutor(self.model.threads) as pool:
            return np.array([outputs.probability for outputs in pool.map(self.model.run, pixels)], dtype=np.float64)


def _append(store: IO[bytes], image: NDArray[np.uint8]) -> None:
    try:
        store.write(image.tobytes())
    except OSError as error:
        raise DataError(
            f"{tempfile.gettempdir()}: the images that were read cannot be kept there ({error.strerror}); free space, "
            "or name another folder in TMPDIR"
        ) from error
