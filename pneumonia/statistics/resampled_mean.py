"""The interval of a metric's mean over the folds of a cross-validation, of one seed or of several.

The models of two folds are trained on mostly the same patients, so that their metrics are correlated, and the usual
interval mean ± t · sd / √n is too narrow. Nadeau and Bengio ("Inference for the Generalization Error", Machine Learning
52, 2003, equation 9) estimate the variance of the mean as (1/n + m/l) sd², for n values, each of a model trained on l
images and tested on m others; the mean divided by its root follows Student's t with n - 1 degrees of freedom. For
repeated cross-validation with k folds m/l is 1/(k - 1) (Bouckaert and Frank, "Evaluating the Replicability of
Significance Tests for Comparing Learning Algorithms", PAKDD 2004). The factor is an approximation: no unbiased estimate
of this variance exists (Bengio and Grandvalet, JMLR 5, 2004). The interval is of models of (k - 1)/k of the patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import t

from pneumonia.records.cross_validation import CrossValidated


def resampled_mean(values: Sequence[float], folds: int, confidence: float) -> CrossValidated:
    """Return mean, standard deviation and corrected interval of a metric over folds and seeds.

    Args:
        values: one a fold and seed, in 0..1; at least two.
        folds: of each seed, k.
        confidence: coverage of the interval, which is cut off at 0 and 1.

    Raises:
        ValueError: fewer than two values or folds.
    """
    if len(values) < 2 or folds < 2:
        raise ValueError("a spread needs two values, of two folds or more")
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    variance = (1 / len(values) + 1 / (folds - 1)) * sd**2
    half = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * variance**0.5
    return CrossValidated(mean=mean, sd=sd, low=max(mean - half, 0.0), high=min(mean + half, 1.0), values=tuple(values))
