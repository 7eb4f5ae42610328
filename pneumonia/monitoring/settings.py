"""What a look at drift is made of; the defaults are those that `benchmarks/drift.py` measures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from pneumonia.source_digest import source_digest


@dataclass(frozen=True)
class DriftSettings:
    """How images are compared with the reference.

    Attributes:
        budget: false alarms per 10,000 images, where nothing has changed; alarms in a row count as one.
        stride: images between two looks.
        sizes: of the windows, in images: each look is at the last so many, so that strong changes are seen early and
            weak ones at all.
        fewest: images without which nothing is compared.
        resamples: divisions of the reference that the alarm level is found from.
        components: principal components of the embeddings that the domain classifier sees, at most.
        folds: parts of its cross-validation.
        seed: of the resamples.
    """

    budget: float = 1.0
    stride: int = 50
    sizes: tuple[int, ...] = (100, 250, 500, 1000)
    fewest: int = 50
    resamples: int = 400
    components: int = 32
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value that cannot be.
        """
        if not 0 < self.alarms_per_look < 1:
            raise ValueError(f"budget {self.budget} at a stride of {self.stride}: more than one alarm a look, or none")
        if not self.sizes or min(self.sizes) < self.fewest or self.fewest < 2 * self.folds:
            raise ValueError(f"sizes {self.sizes}: each needs {self.fewest} images, and these {2 * self.folds}")

    @property
    def alarms_per_look(self) -> float:
        """Chance of an alarm at one look where nothing has changed."""
        return self.budget * self.stride / 10_000

    def digest(self) -> str:
        """Return the sha256, in hex, of the settings and of the code that judges by them."""
        code = source_digest("pneumonia.monitoring.judge")
        return hashlib.sha256(json.dumps({**asdict(self), "code": code}, sort_keys=True).encode()).hexdigest()
