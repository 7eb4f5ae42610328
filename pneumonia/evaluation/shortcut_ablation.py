"""Measure a model's shortcut dependence by ablation: score images again after a shortcut feature was removed.

For each feature of the shortcut audit all images are made equal in it (one encoding, one level of detail, one histogram
of grey levels, no border) and scored again. A model that uses the lungs still separates the classes; one that uses the
feature does not. The shortcut dependence is the decrease of the separation, which is the mean probability of the
positives less that of the negatives: 0 where it does not change, 1 where a perfect separation is lost.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumonia.config.schema import EvaluationConfig, PreprocessConfig
from pneumonia.data.images import Images
from pneumonia.imaging.preprocessing import equalize
from pneumonia.modelling.augment import compress
from pneumonia.modelling.device import CPU, Compute
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.records.evaluation import ShortcutDependence
from pneumonia.statistics.bootstrap import Counts, Floats, Sample, intervals
from pneumonia.timing import timed

QUALITY = 20.0  # lower than any in the published set, and than that of the shortcut planted in phantoms
DETAIL = 0.5  # of the resolution
FRAME = 0.06  # share of the side
CORNER = 0.2  # share of the side
STRETCH = 1.2


@timed("shortcut ablation")
def measure_dependence(
    network: nn.Module,
    images: Images,
    preprocess: PreprocessConfig,
    config: EvaluationConfig,
    compute: Compute = CPU,
    *,
    control: bool = False,
    known: NDArray[np.float64] | None = None,
) -> dict[str, ShortcutDependence]:
    """Measure the dependence on each shortcut feature: score images unchanged and without the feature.

    Any change of an image may lower the separation. The control is a change as strong that touches no shortcut: the
    inside of the image is moved sideways by as many pixels as change it as much on average (`moved_as_much`).

    Args:
        network: two outputs.
        images: preprocessed.
        preprocess: the model's own; images are equalised again after a change, where it equalises.
        config: number of images and resamples, coverage, seed.
        compute: device, precision, threads.
        control: measure against the control, too, at twice the computation.
        known: float64 [n], the network's scores of the images, so that those are not computed again; not used where
            the preprocessing equalises, since an image that is equalised again differs a little.
    """
    chosen = _balanced_sample(images.labels, config)
    images = images.take(chosen)
    pixels = images.pixels[images.rows]

    def score(changed: NDArray[np.uint8]) -> NDArray[np.float64]:
        changed = _preprocessed(changed, preprocess)
        return predict_probabilities(network, changed, np.arange(len(changed)), compute)

    before = score(pixels) if known is None or preprocess.equalize else known[chosen]
    found = {}
    for name, ablate in ABLATIONS.items():
        changed = ablate(pixels)
        after = score(changed)
        found[name] = _change(images, before, after, config)
        if control:
            other = score(moved_as_much(pixels, changed))
            beyond = _change(images, other, after, config).separation
            found[name] = found[name].model_copy(update={"beyond_control": beyond})
    return found


def moved_as_much(images: NDArray[np.uint8], changed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Move the inside sideways by as many pixels as change images as much as others were changed, root mean square.

    Border and corners stay where they are; what moves out on one side is filled by the mirror image of the edge on the
    other. So encoding, detail, shape, grey levels, border and corner marks stay. The largest move is a quarter of the
    side: a stronger change has that as its control.

    Args:
        images: uint8 [n, S, S].
        changed: the same images after the change.
    """

    def strength(other: NDArray[np.uint8]) -> float:
        return float(np.sqrt(np.mean((images.astype(np.float32) - other.astype(np.float32)) ** 2)))

    wanted, moved, inside = strength(changed), images, _inside(images.shape[-1])
    for pixels in range(1, images.shape[-1] // 4 + 1):
        shifted = np.pad(images[:, :, pixels:], ((0, 0), (0, 0), (0, pixels)), mode="symmetric")
        moved = np.where(inside, shifted, images)
        if strength(moved) >= wanted:
            break
    return moved


def _inside(side: int) -> NDArray[np.bool_]:
    """Return the pixels [S, S] that belong to neither the border nor a corner, as the ablations have them."""
    width, corner = max(1, round(side * FRAME)), round(side * CORNER)
    inside = np.zeros((side, side), dtype=np.bool_)
    inside[width:-width, width:-width] = True
    for rows in (slice(None, corner), slice(-corner, None)):
        inside[rows, :corner] = inside[rows, -corner:] = False
    return inside


def remove_shortcuts(images: NDArray[np.uint8], preprocess: PreprocessConfig) -> NDArray[np.uint8]:
    """Remove every shortcut feature, one after the other, from images uint8 [n, S, S]."""
    for ablate in ABLATIONS.values():
        images = ablate(images)
    return _preprocessed(images, preprocess)


def _preprocessed(images: NDArray[np.uint8], preprocess: PreprocessConfig) -> NDArray[np.uint8]:
    return np.stack([equalize(image) for image in images]) if preprocess.equalize else images


def _balanced_sample(labels: NDArray[np.int64], config: EvaluationConfig) -> NDArray[np.int64]:
    """Draw at most ``ablation_images_per_class`` images of each class, with the bootstrap's seed."""
    rng = np.random.default_rng(config.seed)
    classes = [rng.permutation(np.flatnonzero(labels == label))[: config.ablation_images_per_class] for label in (0, 1)]
    return np.sort(np.concatenate(classes)).astype(np.int64)


def _change(
    images: Images, before: NDArray[np.float64], after: NDArray[np.float64], config: EvaluationConfig
) -> ShortcutDependence:
    """Compute the changes of the mean probabilities, with their intervals by patient."""
    sample = Sample.of(images.labels, images.patients, images.copies)
    columns = np.stack(
        [(images.labels == label) * value for label in (0, 1) for value in (1.0, after - before)], axis=1
    )
    sums = np.zeros((sample.columns, 4))
    np.add.at(sums, sample.patient, columns)

    def changes(counts: Counts) -> Floats:
        totals = np.einsum("bp,pk->bk", counts.astype(np.float64), sums)
        negatives, positives = totals[:, 1] / totals[:, 0], totals[:, 3] / totals[:, 2]
        return np.stack([negatives - positives, negatives, positives])

    separation, normal, pneumonia = intervals(sample, changes, config)
    return ShortcutDependence(separation=separation, normal=normal, pneumonia=pneumonia)


def _on_tensors(change: Callable[[Tensor], Tensor]) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Convert a change of float [n, S, S] in 0..1 to one of uint8."""

    def changed(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        values = change(torch.from_numpy(images).float().div_(255))
        return values.mul(255).round_().clamp_(0, 255).to(torch.uint8).numpy()

    return changed


def _one_encoding(images: Tensor) -> Tensor:
    """Compress every image with the same JPEG quality."""
    return compress(images, torch.full((len(images), 1, 1), QUALITY))


def _one_detail(images: Tensor) -> Tensor:
    """Reduce every image and enlarge it again, so that all have the same level of detail."""
    side = images.shape[-1]
    small = F.interpolate(images.unsqueeze(1), scale_factor=DETAIL, mode="bilinear", antialias=True)
    return F.interpolate(small, size=(side, side), mode="bilinear").squeeze(1)


def _stretched(images: Tensor) -> Tensor:
    """Make every other image narrower and the rest lower, so that the shape does not correlate with the class.

    The freed margin is filled by replicating the edge, which neither removes a border nor adds one.
    """
    changed, side = images.clone(), images.shape[-1]
    inner = round(side / STRETCH)
    before, after = (side - inner) // 2, side - inner - (side - inner) // 2
    for first, size, margin in (
        (0, (side, inner), (before, after, 0, 0)),
        (1, (inner, side), (0, 0, before, after)),
    ):
        small = F.interpolate(images[first::2].unsqueeze(1), size=size, mode="bilinear", antialias=True)
        changed[first::2] = F.pad(small, margin, mode="replicate").squeeze(1)
    return changed


def _one_histogram(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give every image the mean of all images' sorted grey levels, rank by rank.

    Pixels of one grey level share the mean of their ranks, so that what is flat stays flat.
    """
    flat = images.reshape(len(images), -1)
    levels = np.sort(flat, axis=1).mean(axis=0)
    below = np.concatenate([[0.0], np.cumsum(levels)])
    changed = np.empty_like(flat)
    for row, image in zip(changed, flat, strict=True):
        ends = np.cumsum(np.bincount(image, minlength=256))
        starts = np.concatenate([[0], ends[:-1]])
        mean = (below[ends] - below[starts]) / np.maximum(ends - starts, 1)
        row[:] = np.rint(mean).astype(np.uint8)[image]
    return changed.reshape(images.shape)


def _no_frame(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the border by the mirror image of the pixels inside it."""
    width = max(1, round(images.shape[-1] * FRAME))
    inside = images[:, width:-width, width:-width]
    return np.pad(inside, ((0, 0), (width, width), (width, width)), mode="symmetric")


def _no_corners(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the corners by the mirror image of the adjacent pixels."""
    changed, width = images.copy(), round(images.shape[-1] * CORNER)
    for rows in (slice(None, width), slice(-width, None)):
        changed[:, rows, :width] = images[:, rows, width : 2 * width][:, :, ::-1]
        changed[:, rows, -width:] = images[:, rows, -2 * width : -width][:, :, ::-1]
    return changed


ABLATIONS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "encoding": _on_tensors(_one_encoding),
    "size": _on_tensors(_one_detail),
    "aspect": _on_tensors(_stretched),
    "brightness": _one_histogram,
    "border": _no_frame,
    "mark": _no_corners,
}
"""By shortcut feature, the function that removes it from uint8 [n, S, S]. The ablations of encoding and size remove
differences of sharpness too."""
