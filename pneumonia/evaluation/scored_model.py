"""Score a model on a split of packed images: as they are, and without shortcuts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest
from pneumonia.evaluation.shortcut_ablation import remove_shortcuts
from pneumonia.modelling.device import Compute
from pneumonia.modelling.network import load_model
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.records.model import ModelRecord
from pneumonia.statistics.metrics import Scored

View = Literal["as they are", "without shortcuts"]
VIEWS: tuple[View, View] = ("as they are", "without shortcuts")


@dataclass(frozen=True)
class Model:
    """A network with its record, and how it is computed: in float32, as a server computes."""

    network: nn.Module
    record: ModelRecord
    compute: Compute

    @classmethod
    def load(cls, path: Path, compute: Compute) -> Model:
        """Load a weights file; raises as `load_model` does."""
        network, record = load_model(path)
        return cls(network, record, compute)

    def score(self, images: Images, view: View = VIEWS[0]) -> Scored:
        """Score images that are preprocessed as the record says.

        Args:
            images: [n].
            view: one of `VIEWS`.
        """
        pixels, rows = images.pixels, images.rows
        if view == VIEWS[1]:
            pixels = remove_shortcuts(np.asarray(pixels[rows]), self.record.preprocess)
            rows = np.arange(len(pixels))
        scores = predict_probabilities(self.network, pixels, rows, self.compute)
        return Scored(images.labels, scores, images.patients, self.record.threshold, images.copies)


@dataclass(frozen=True)
class Split:
    """The images of a split with their manifest.

    Attributes:
        digests: [n] sha256 of the files.
        paths: [n] relative to the data's root.
    """

    manifest: Manifest
    images: Images

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], manifest: Manifest, name: str) -> Split:
        """Return a split of a packed array."""
        return cls(manifest, Images.of(pixels, manifest, name))

    @property
    def digests(self) -> list[str]:
        return [self.manifest.entries[row].sha256 for row in self.images.rows]

    @property
    def paths(self) -> list[str]:
        return [self.manifest.entries[row].path for row in self.images.rows]

    def equal_in(self, pixels: NDArray[np.uint8], manifest: Manifest) -> tuple[NDArray[np.intp], Images]:
        """Match these images with those of another packing by the content of their files.

        Returns:
            The positions of the images that both have, and these images in the other packing.
        """
        row = {entry.sha256: index for index, entry in enumerate(manifest.entries)}
        digests = self.digests
        kept = np.array([at for at, digest in enumerate(digests) if digest in row], dtype=np.intp)
        rows = np.array([row[digests[at]] for at in kept], dtype=np.int64)
        return kept, replace(self.images.take(kept), pixels=pixels, rows=rows)


def part(scored: Scored, kept: NDArray[np.intp]) -> Scored:
    """Return some of the scored images, by their positions."""
    patients = None if scored.patients is None else [scored.patients[at] for at in kept]
    labels, probabilities = np.asarray(scored.labels)[kept], np.asarray(scored.probabilities)[kept]
    copies = None if scored.copies is None else np.asarray(scored.copies)[kept]
    return Scored(labels, probabilities, patients, scored.threshold, copies)
