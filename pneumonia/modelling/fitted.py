"""Hold what a finished training has come to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pneumonia.modelling.checkpoint import TrainingState
from pneumonia.modelling.weights import state_digest
from pneumonia.records.epoch import Epoch


@dataclass(frozen=True)
class Fitted:
    """A finished training: the weights of the epoch with the lowest validation loss (their moving average, if used).

    Attributes:
        finished_at: when it was completed, ISO 8601 in UTC.
        computed_with: every device, precision and number of threads that it was computed with; where there are
            several, another training with this key does not give the same bits.
    """

    state: dict[str, Tensor]
    weights_digest: str
    history: list[Epoch]
    best_epoch: int
    resumed: bool
    finished_at: str
    computed_with: tuple[str, ...]

    @classmethod
    def of(cls, state: TrainingState, best: dict[str, Tensor], *, resumed: bool) -> Fitted:
        """Return what a finished training has come to."""
        digest, computed = state_digest(best), tuple(state.computed_with)
        return cls(best, digest, state.epochs(), state.best_epoch, resumed, state.finished_at, computed)
