"""Add up what training steps come to without waiting for the device after each of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

EVERY = 64
"""Steps after which a GPU is asked for its results; a CPU has them at once."""


@dataclass(frozen=True)
class StepResult:
    """What one step came to.

    Attributes:
        number: of the step.
        loss: mean over the batch.
        correct: images whose class was found.
        count: images.
    """

    number: int
    loss: float
    correct: int
    count: int


@dataclass
class StepTotals:
    """The results of steps that were not asked for yet: numbers on the device."""

    _waiting: list[tuple[int, Tensor, Tensor, int]] = field(default_factory=list)

    def add(self, number: int, loss: Tensor | float, correct: Tensor | int, count: int) -> None:
        """Note a step: its mean loss and its correct images, each a number or a tensor of one."""
        values = (torch.as_tensor(loss, dtype=torch.float64).detach(), torch.as_tensor(correct))
        self._waiting.append((number, *values, count))

    @property
    def due(self) -> bool:
        """Whether it is time to settle."""
        return bool(self._waiting) and (self._waiting[-1][1].device.type == "cpu" or len(self._waiting) >= EVERY)

    def settle(self) -> list[StepResult]:
        """Return the results of the steps that were noted since, in their order; a GPU is waited for, once."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        losses = torch.stack([loss for _, loss, _, _ in waiting]).tolist()
        hits = torch.stack([correct for _, _, correct, _ in waiting]).tolist()
        return [
            StepResult(number, float(loss), int(correct), count)
            for (number, _, _, count), loss, correct in zip(waiting, losses, hits, strict=True)
        ]
