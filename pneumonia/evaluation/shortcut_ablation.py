"""The controlled re-score: how much of what a model says goes away when a shortcut is taken out of the films.

For each cue of the shortcut audit all films are brought to a common state (one encoding, one level of detail, one
distribution of grey levels, nothing at the rim) and scored again. A model that reads lungs keeps telling the classes
apart; one that reads the cue does not. The reliance is the fall of the separation, which is the mean probability of the
ill films less that of the well ones: 0 where nothing falls, 1 where a perfect separation is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumonia.config.schema import EvaluateConfig, PreprocessConfig
from pneumonia.imaging.preprocessing import equalize
from pneumonia.modelling.augment import compress
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.records.evaluation import ShortcutDependence
from pneumonia.statistics.bootstrap import Counts, Floats, Sample, intervals

QUALITY = 20.0  # coarser than any of the published set, and than the cue that phantoms carry
DETAIL = 0.5  # of the resolution
FRAME = 0.06  # share of the side
CORNER = 0.2  # share of the side
STRETCH = 1.2


def measure_dependence(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    patients: Sequence[str],
    preprocess: PreprocessConfig,
    config: EvaluateConfig,
    *,
    device: torch.device | None = None,
    precision: str = "fp32",
) -> dict[str, ShortcutDependence]:
    """Score films as they are and without each cue.

    Args:
        network: two outputs.
        pixels: uint8 [n, S, S], preprocessed.
        labels: int64 [n].
        patients: [n].
        preprocess: the model's own; films are equalised again after a change, where it equalises.
        config: number of films and resamples, coverage, seed.
        device, precision: as for `pneumonia.modelling.scoring.predict_probabilities`.
    """
    chosen = _chosen(labels, config)
    films, truth, who = pixels[chosen], labels[chosen], [patients[row] for row in chosen]

    def score(changed: NDArray[np.uint8]) -> NDArray[np.float64]:
        changed = _preprocessed(changed, preprocess)
        return predict_probabilities(network, changed, np.arange(len(changed)), device=device, precision=precision)

    before = score(films)
    return {cue: _moved(truth, before, score(common(films)), who, config) for cue, common in ABLATIONS.items()}


def remove_shortcuts(films: NDArray[np.uint8], preprocess: PreprocessConfig) -> NDArray[np.uint8]:
    """Films uint8 [n, S, S] with every cue taken out, one after the other."""
    for common in ABLATIONS.values():
        films = common(films)
    return _preprocessed(films, preprocess)


def _preprocessed(films: NDArray[np.uint8], preprocess: PreprocessConfig) -> NDArray[np.uint8]:
    return np.stack([equalize(film) for film in films]) if preprocess.equalize else films


def _chosen(labels: NDArray[np.int64], config: EvaluateConfig) -> NDArray[np.int64]:
    """The same number of films of each class, drawn by the bootstrap's seed."""
    rng = np.random.default_rng(config.seed)
    classes = [rng.permutation(np.flatnonzero(labels == label))[: config.rescored] for label in (0, 1)]
    return np.sort(np.concatenate(classes)).astype(np.int64)


def _moved(
    labels: NDArray[np.int64],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    patients: Sequence[str],
    config: EvaluateConfig,
) -> ShortcutDependence:
    sample = Sample.of(labels, patients)
    columns = np.stack([(labels == label) * value for label in (0, 1) for value in (1.0, after - before)], axis=1)
    sums = np.zeros((sample.n_patients, 4))
    np.add.at(sums, sample.patient, columns)

    def moves(counts: Counts) -> Floats:
        totals = np.einsum("bp,pk->bk", counts.astype(np.float64), sums)
        well, ill = totals[:, 1] / totals[:, 0], totals[:, 3] / totals[:, 2]
        return np.stack([well - ill, well, ill])

    separation, normal, pneumonia = intervals(sample, moves, config)
    return ShortcutDependence(separation=separation, normal=normal, pneumonia=pneumonia)


def _on_tensors(change: Callable[[Tensor], Tensor]) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Let a change of float [n, S, S] in 0..1 work on uint8."""

    def changed(films: NDArray[np.uint8]) -> NDArray[np.uint8]:
        values = change(torch.from_numpy(films).float().div_(255))
        return values.mul(255).round_().clamp_(0, 255).to(torch.uint8).numpy()

    return changed


def _one_encoding(films: Tensor) -> Tensor:
    return compress(films, torch.full((len(films), 1, 1), QUALITY))


def _one_detail(films: Tensor) -> Tensor:
    side = films.shape[-1]
    small = F.interpolate(films.unsqueeze(1), scale_factor=DETAIL, mode="bilinear", antialias=True)
    return F.interpolate(small, size=(side, side), mode="bilinear").squeeze(1)


def _stretched(films: Tensor) -> Tensor:
    """Every other film made narrower, the others lower, so that the shape no longer goes with the class.

    The rim is drawn out over the place that becomes free: it would be cut off otherwise, or a new one made.
    """
    changed, side = films.clone(), films.shape[-1]
    inner = round(side / STRETCH)
    before, after = (side - inner) // 2, side - inner - (side - inner) // 2
    for first, size, margin in (
        (0, (side, inner), (before, after, 0, 0)),
        (1, (inner, side), (0, 0, before, after)),
    ):
        small = F.interpolate(films[first::2].unsqueeze(1), size=size, mode="bilinear", antialias=True)
        changed[first::2] = F.pad(small, margin, mode="replicate").squeeze(1)
    return changed


def _one_histogram(films: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every film gets the mean of all films' sorted grey levels, rank by rank."""
    flat = films.reshape(len(films), -1)
    order = np.argsort(flat, axis=1, kind="stable")
    levels = np.rint(np.take_along_axis(flat, order, 1).mean(axis=0)).astype(np.uint8)
    changed = np.empty_like(flat)
    np.put_along_axis(changed, order, np.broadcast_to(levels, flat.shape), 1)
    return changed.reshape(films.shape)


def _no_frame(films: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The rim replaced by the mirror image of what lies inside it."""
    width = max(1, round(films.shape[-1] * FRAME))
    inside = films[:, width:-width, width:-width]
    return np.pad(inside, ((0, 0), (width, width), (width, width)), mode="symmetric")


def _no_corners(films: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The corners replaced by the mirror image of what lies beside them."""
    changed, width = films.copy(), round(films.shape[-1] * CORNER)
    for rows in (slice(None, width), slice(-width, None)):
        changed[:, rows, :width] = films[:, rows, width : 2 * width][:, :, ::-1]
        changed[:, rows, -width:] = films[:, rows, -2 * width : -width][:, :, ::-1]
    return changed


ABLATIONS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "encoding": _on_tensors(_one_encoding),
    "size": _on_tensors(_one_detail),
    "aspect": _on_tensors(_stretched),
    "brightness": _one_histogram,
    "border": _no_frame,
    "mark": _no_corners,
}
"""By cue, what brings uint8 [n, S, S] to a common state. Sharpness has none of its own: encoding and size hold it."""
