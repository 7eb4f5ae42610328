"""The documents of a look at drift: what each test found, the kind of change, and what follows for the metrics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pneumonia.records.base import Document
from pneumonia.records.evaluation import Metric

Kind = Literal["none", "too few", "foreign pictures", "acquisition", "case mix", "prevalence"]
TestName = Literal["probability", "embedding", "statistics", "foreign"]
METRICS = ("accuracy", "sensitivity", "specificity", "auroc")


class DriftTest(Document):
    """One test of the last images of a window.

    Attributes:
        name: what is compared: the probabilities, the embeddings, the image statistics, or the share of foreign
            pictures.
        images: how many of the last images are compared.
        statistic: Kolmogorov and Smirnov's distance (the largest of the 30 statistics), the domain classifier's AUROC,
            or the share.
        limit: from which it is an alarm.
        score: the standardised statistic divided by its alarm level: from 1 on it is an alarm.
        p_value: exact, by image, of no difference; None for the classifier.
        low, high: 95 % interval of the statistic, where it has one.
        words: the same in words.
    """

    name: TestName
    images: int
    statistic: float
    limit: float
    score: float
    p_value: float | None = None
    low: float | None = None
    high: float | None = None
    words: str


class StatisticShift(Document):
    """How far one image statistic has moved.

    Attributes:
        name: of `pneumonia.imaging.image_statistics.STATISTICS`.
        ks: Kolmogorov and Smirnov's distance, 0 to 1.
        score: as of a `DriftTest`, if the statistic were the largest.
        reference_median, window_median: of the statistic.
    """

    name: str
    ks: float
    score: float
    reference_median: float
    window_median: float


class DriftVerdict(Document):
    """What a look at the last images of a stream found. Not a medical device.

    Attributes:
        name, version, model_digest: of the model whose reference the images are compared with.
        checked_at, since, until: ISO 8601 in UTC; the window's bounds.
        images, refused: in the window, and how many of them the input check refused.
        first_event, last_event: identifiers.
        alarm: a score has reached 1.
        kind, advice: what has changed, and what to do, in one sentence.
        score: the largest of the tests.
        budget: false alarms per 10,000 images that the alarm level is made for.
        tests: each test at each window size.
        shifts: the image statistics, the one that moved most first.
        focus: how many of the last images prevalence and estimated metrics are of: those of the largest score.
        reference_prevalence: share of PNEUMONIA among the reference's labels.
        prevalence: the same of the stream, estimated from the probabilities.
        estimated: metrics expected from calibrated probabilities alone, without a label.
        expected: the same in windows of the reference: mean, and the range of 95 % of them.
        measured: metrics where readers gave a label, of `labels` images.
    """

    name: str
    version: str
    model_digest: str
    checked_at: str
    since: str
    until: str
    images: int
    refused: int
    first_event: str
    last_event: str
    alarm: bool
    kind: Kind
    advice: str
    score: float
    budget: float
    tests: tuple[DriftTest, ...] = ()
    shifts: tuple[StatisticShift, ...] = ()
    focus: int = 0
    reference_prevalence: float
    prevalence: Metric | None = None
    estimated: dict[str, Metric] = Field(default_factory=dict)
    expected: dict[str, Metric] = Field(default_factory=dict)
    measured: dict[str, Metric] = Field(default_factory=dict)
    labels: int = 0

    def scores(self) -> dict[str, float]:
        """Return the largest score of each test, over the window sizes, by its name."""
        found: dict[str, float] = {}
        for test in self.tests:
            found[test.name] = max(test.score, found.get(test.name, 0.0))
        return found


class NullLaw(Document):
    """How the tests' statistics vary by chance, of one reference; see `pneumonia.monitoring.null_law`.

    Attributes:
        sizes: of the windows that were drawn from the reference, ascending.
        means: of each size, the mean square of the standardised distance of the probability and of each statistic.
        classifier: of each size, the mean square of the standardised AUROC.
        tails: of each size, start and scale of the tail of each of the three tests.
        largest: start and scale of the tail of the largest rarity of all.
    """

    sizes: tuple[int, ...]
    means: tuple[tuple[float, ...], ...]
    classifier: tuple[float, ...]
    tails: tuple[tuple[tuple[float, float], ...], ...]
    largest: tuple[float, float]
