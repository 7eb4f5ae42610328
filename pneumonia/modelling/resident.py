"""Hold a data set where it is computed with: on a GPU all of its pixels, once, where they fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumonia.data.images import Images
from pneumonia.modelling.device import Compute, copied

SHARE = 0.5
"""Of a GPU's free memory that pixels may take; the network's activations need the rest."""


@dataclass(frozen=True)
class ResidentImages:
    """Images that batches are taken from.

    Attributes:
        images: the images.
        compute: where the batches go.
        pixels: uint8 [n, S, S] and labels int64 [n] on that device, in the order of `images`; None: each batch is
            copied there.
        labels: see `pixels`.
    """

    images: Images
    compute: Compute
    pixels: Tensor | None = None
    labels: Tensor | None = None

    @classmethod
    def of(cls, images: Images, compute: Compute) -> ResidentImages:
        """Copy the images to a GPU, if that is where they are computed with and they fit; a CPU has its memory map."""
        if compute.device.type != "cuda":
            return cls(images, compute)
        side = images.pixels.shape[-1]
        free, _ = torch.cuda.mem_get_info(compute.device)
        return cls.copied(images, compute) if len(images) * side * side <= SHARE * free else cls(images, compute)

    @classmethod
    def copied(cls, images: Images, compute: Compute, block: int = 1024) -> ResidentImages:
        """Copy the images to the device, `block` at a time."""
        side = images.pixels.shape[-1]
        pixels = torch.empty((len(images), side, side), dtype=torch.uint8, device=compute.device)
        for start in range(0, len(images), block):
            part = np.ascontiguousarray(images.pixels[images.rows[start : start + block]])
            pixels[start : start + len(part)] = torch.from_numpy(part).to(compute.device)
        return cls(images, compute, pixels, torch.from_numpy(images.labels).to(compute.device))

    def batch(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return images, float [B, S, S] in 0..1, and labels, int64 [B], on the device.

        Args:
            chosen: [B] positions in the images; the batch has them in ascending order, in which a disk is read
                sequentially. The order within a batch does not change its gradient.
        """
        rows = np.sort(chosen)
        if self.pixels is None or self.labels is None:
            taken = self.images.take(rows)
            labels = copied(torch.from_numpy(taken.labels), self.compute.device)
            return self.compute.images(taken.pixels[taken.rows]), labels
        index = copied(torch.from_numpy(rows), self.compute.device)
        return self.pixels[index].float().div_(255), self.labels[index]
