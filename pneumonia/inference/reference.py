"""Build the arrays that a model's input check, and later drift, compare images with.

An image is described by the network's embedding and by the layout of bright and dark (`pneumonia.imaging.layout`), and
measured in each twice: how far it lies beside the principal components of training images, and how far from the nearest
of them. Each distance is taken in standard deviations of the same distance of held-out images, which are validation
images, and where these are few, also training images that a subspace was fitted without.

An image that is far by the mean of all four is no such picture at all, and refused; one that is far from every single
training image is unfamiliar. The limits of both are quantiles of the held-out images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.imaging.image_statistics import EXPOSURE_STATISTICS
from pneumonia.imaging.layout import Layout, measure_layout
from pneumonia.inference.subspace import Arrays, Subspace, Vectors
from pneumonia.timing import timed

REFUSED, MARGIN = 0.995, 1.2
"""An image is refused from this many times the distance that so large a share of the held-out images does not reach."""
FAMILIAR = 0.975
"""Share of the held-out images within the limit of familiarity."""
ENOUGH, FOLDS, FEWEST = 200, 5, 16
"""Validation images that suffice to find a limit, parts of the training images otherwise, and the fewest of these."""
DESCRIPTIONS = ("embedding", "layout")
AGES = "ages"
"""Key of the lowest and highest age in years of the patients, float32 [2], where it is known."""
_BLOCK = 8


@dataclass(frozen=True)
class ReferenceImages:
    """Images of a split, and what the served graph computed of them.

    Attributes:
        pixels: uint8 [n, S, S], preprocessed.
        statistics: float32 [n, 30], `pneumonia.imaging.image_statistics.STATISTICS`, measured before any equalisation.
        embeddings: float32 [n, C].
    """

    pixels: NDArray[np.uint8]
    statistics: NDArray[np.float32]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True)
class HeldOutImages(ReferenceImages):
    """Validation images, with what monitoring compares a stream with.

    Attributes:
        logits: float32 [n, classes], of the served graph.
        labels: int64 [n], 1 for PNEUMONIA.
        patients: int64 [n], a number for each patient.
        place: bool [n], the image stands for the place of use.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64]
    place: NDArray[np.bool_]


@timed("reference of the input check")
def build_reference(
    train: ReferenceImages, validation: HeldOutImages, ages: tuple[float, float] | None = None
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the reference, by name.

    ``embeddings`` float16 [n, C] are those of the training images. Those that begin with ``validation_`` are read by
    what measures drift (`pneumonia.monitoring.sample`): embeddings float16 [m, C], statistics float32 [m, 30], logits
    float32 [m, classes], labels uint8 [m], patients int32 [m], and as uint8 [m] whether the input check refuses an
    image, whether it is familiar, and whether it stands for the place of use. The others are read by `Reference`;
    they are missing where there are fewer than `FEWEST` training images.

    Args:
        train: a sample of the training images; some hundred do.
        validation: all validation images.
        ages: lowest and highest age of the patients in years, where the data set's publisher states them.
    """
    kept: dict[str, NDArray[np.generic]] = {
        "embeddings": train.embeddings.astype(np.float16),
        "validation_embeddings": validation.embeddings.astype(np.float16),
        "validation_statistics": validation.statistics.astype(np.float32),
        "validation_logits": validation.logits.astype(np.float32),
        "validation_labels": validation.labels.astype(np.uint8),
        "validation_patients": validation.patients.astype(np.int32),
        "validation_place": validation.place.astype(np.uint8),
        "validation_refused": np.zeros(len(validation.labels), np.uint8),
        "validation_familiar": np.ones(len(validation.labels), np.uint8),
    }
    if ages is not None:
        kept[AGES] = np.array(ages, dtype=np.float32)
    return kept | (_check_arrays(train, validation) if len(train.pixels) >= FEWEST else {})


def _check_arrays(train: ReferenceImages, validation: HeldOutImages) -> dict[str, NDArray[np.generic]]:
    learnt, held_out = _described(train), _described(validation)
    spaces = {name: Subspace.fit(learnt[name]) for name in DESCRIPTIONS}
    found = [_distances(spaces, held_out)]
    if len(validation.pixels) < ENOUGH:
        found += [_out_of_fold(learnt, fold) for fold in range(FOLDS)]
    distances = np.concatenate(found)
    centre, scale = distances.mean(axis=0), np.maximum(distances.std(axis=0), 1e-3)
    unlikeness, far = combine((distances - centre) / scale)
    limits = np.array([MARGIN * np.quantile(unlikeness, REFUSED), np.quantile(far, FAMILIAR)], np.float32)
    own = slice(len(validation.pixels))  # the validation images themselves come first
    exposures = np.concatenate([train.statistics, validation.statistics])[:, EXPOSURE_STATISTICS]
    return {
        **{key: array for name, space in spaces.items() for key, array in space.arrays(name).items()},
        "layouts": learnt["layout"].astype(np.float16),
        "check_centre": centre,
        "check_scale": scale,
        "check_limits": limits,
        "validation_refused": (unlikeness[own] >= limits[0]).astype(np.uint8),
        "validation_familiar": (far[own] < limits[1]).astype(np.uint8),
        "check_far": np.sort(far),
        "check_ranges": np.stack([exposures.min(axis=0), exposures.max(axis=0)]),
    }


def _out_of_fold(learnt: Mapping[str, Vectors], fold: int) -> Vectors:
    """Return the distances of a part of the training images from the others.

    Parts are made of blocks of images that follow one another, because those of a patient do.
    """
    out = np.arange(len(learnt["layout"])) // _BLOCK % FOLDS == fold
    if not out.any():
        return np.zeros((0, 2 * len(DESCRIPTIONS)), np.float32)
    spaces = {name: Subspace.fit(vectors[~out]) for name, vectors in learnt.items()}
    return _distances(spaces, {name: vectors[out] for name, vectors in learnt.items()})


def _described(images: ReferenceImages) -> dict[str, Vectors]:
    layouts = np.stack([measure_layout(pixels).ravel() for pixels in images.pixels])
    return {"embedding": describe_embedding(images.embeddings), "layout": layouts}


def _distances(spaces: Mapping[str, Subspace], vectors: Mapping[str, Vectors]) -> Vectors:
    """Return float32 [..., 2 * descriptions]: beside, then nearest, each in the order of `DESCRIPTIONS`."""
    beside = [spaces[name].beside(vectors[name]) for name in DESCRIPTIONS]
    return np.stack(beside + [spaces[name].nearest(vectors[name]) for name in DESCRIPTIONS], axis=-1)


def describe_embedding(embeddings: NDArray[np.float32]) -> Vectors:
    """Return the square roots of embeddings, which are means of rectified maps: these vary alike, large and small."""
    return np.sqrt(np.maximum(embeddings, 0), dtype=np.float32)


def combine(standardised: Vectors) -> tuple[Vectors, Vectors]:
    """Combine standardised distances float32 [..., 2 * descriptions] of images.

    Returns:
        float32 [...], how unlike training images they are as pictures: the mean of all distances. And float32 [...],
        how far they are from every single one: the mean of the distances from the nearest.
    """
    nearest = standardised[..., len(DESCRIPTIONS) :]
    return standardised.mean(axis=-1, dtype=np.float32), nearest.mean(axis=-1, dtype=np.float32)


@dataclass(frozen=True)
class Reference:
    """What images are compared with.

    Attributes:
        spaces: of each of `DESCRIPTIONS`.
        centre, scale: float32 [2 * descriptions], of the distances of held-out images.
        limits: float32 [2]: from which distance an image is refused, and from which it is unfamiliar.
        far: float32 [m], ascending, how far each held-out image is from the training images.
        ranges: float32 [2, 3], least and largest of `pneumonia.imaging.image_statistics.measure_exposure` of training
            and validation images.
    """

    spaces: Mapping[str, Subspace]
    centre: Vectors
    scale: Vectors
    limits: Vectors
    far: Vectors
    ranges: Vectors

    @classmethod
    def load(cls, arrays: Arrays) -> Reference | None:
        """Read a reference; None where the model was exported without its training images, or with too few."""
        if "check_limits" not in arrays:
            return None
        vectors = {
            "embedding": describe_embedding(arrays["embeddings"].astype(np.float32)),
            "layout": arrays["layouts"].astype(np.float32),
        }
        spaces = {name: Subspace.load(arrays, name, vectors[name]) for name in DESCRIPTIONS}
        parts = ("centre", "scale", "limits", "far", "ranges")
        return cls(spaces, *(arrays[f"check_{part}"].astype(np.float32) for part in parts))

    def measure(self, embedding: NDArray[np.float32], layout: Layout) -> tuple[float, float]:
        """Return how unlike training images an image is, and how far from every one of them; see `combine`."""
        vectors = {"embedding": describe_embedding(embedding), "layout": layout.ravel()}
        unlikeness, far = combine((_distances(self.spaces, vectors) - self.centre) / self.scale)
        return float(unlikeness), float(far)

    def misfit(self, layout: Layout) -> float:
        """Return how unlike training images' a layout is, in standard deviations; negative where it is usual."""
        return float((self.spaces["layout"].beside(layout.ravel()) - self.centre[1]) / self.scale[1])

    def percentile(self, far: float) -> float:
        """Return the share of the held-out images that are nearer, 0 to 100."""
        return round(100 * int(np.searchsorted(self.far, far)) / len(self.far), 1)
