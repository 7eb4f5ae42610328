"""Compute what is gained if a model answers only where it is certain, and leaves the rest to a reader.

An answer's certainty is the distance of the log odds of its probability from those of the threshold (selective
prediction: El-Yaniv and Wiener, JMLR 11, 2010, 1605).
"""

from __future__ import annotations

import numpy as np

from pneumonia.config.schema import EvaluationConfig
from pneumonia.records.assessment import AutomaticNegatives, SelectivePoint
from pneumonia.statistics.bootstrap import Floats
from pneumonia.statistics.metrics import Scored
from pneumonia.statistics.parts import Part, exact_lower, rate

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
CUTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Probabilities below which images are answered, besides the threshold; fixed before any image is seen."""
_EDGE = 1e-12


def certainty(probabilities: Floats, threshold: float) -> Floats:
    """Return the distance of each probability from the threshold in log odds, 0 or more."""
    return np.asarray(np.abs(_log_odds(probabilities) - _log_odds(np.array([threshold]))), dtype=np.float64)


def _log_odds(probabilities: Floats) -> Floats:
    inner = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inner) - np.log1p(-inner), dtype=np.float64)


def selective(scored: Scored, config: EvaluationConfig) -> list[SelectivePoint]:
    """Compute the share of errors among the most certain images, at each of `COVERAGES`.

    Images of equal certainty are taken in their order. The interval is of the chosen images: that other images would
    have been chosen from other patients is not in it.

    Args:
        scored: labels, probabilities, patients, threshold.
        config: number of resamples, coverage, seed.
    """
    part = Part.of(scored)
    order = np.argsort(-certainty(part.probabilities, scored.threshold), kind="stable")
    found = []
    for coverage in COVERAGES:
        n = max(1, round(coverage * len(part)))
        chosen = np.zeros(len(part), np.bool_)
        chosen[order[:n]] = True
        error = rate(part.take(chosen), config, of_errors=True)
        found.append(SelectivePoint(coverage=coverage, images=n, error=error))
    return found


def automatic_negatives(scored: Scored, config: EvaluationConfig) -> list[AutomaticNegatives]:
    """Compute what would be missed if images below a probability were answered NORMAL without a reader.

    The bound is exact for independent images and a cut-off that was chosen before they were seen; it holds at the
    share of PNEUMONIA of these images, and copies do not count in it. Several images of one patient are not
    independent, and where there are such, the bound is a little too high.

    Args:
        scored: labels, probabilities, threshold, copies.
        config: coverage of the one-sided bound.
    """
    part = Part.of(scored)
    found = []
    for cut in sorted({*(cut for cut in CUTS if cut < scored.threshold), scored.threshold}):
        below = part.probabilities < cut
        images, missed = int(below.sum()), int((below & part.positive).sum())
        once = below & ~part.copies
        n, good = int(once.sum()), int((once & ~part.positive).sum())
        found.append(
            AutomaticNegatives(
                below=cut,
                images=images,
                share=images / len(part),
                missed=missed,
                npv=(images - missed) / images if images else None,
                npv_low=exact_lower(good, n, config.confidence) if n else None,
            )
        )
    return found
