"""Replay held-out patients as a stream, with and without changes, and measure what the drift detector says.

python benchmarks/drift.py --data data/chest_xray --weights FILE [--replays 60] [--work DIR] [--out FILE]
python benchmarks/drift.py --small  # phantoms and a tiny network: that it runs, no figure

One model is trained by the pipeline's own steps with more patients held out than usual, and exported. Every held-out
image goes once through the served graph, as it is and in each changed form. A replay then draws anew, by patient, who is
the reference and who comes in the stream, in which the images of a patient follow one another; no image comes twice.
The official test folder is not touched.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.drift_images import CHANGES, ORIGINAL, PICTURES
from pneumonia.monitoring.detector import Detector, Findings
from pneumonia.monitoring.estimated import estimate_metrics, measure_metrics
from pneumonia.monitoring.judge import Looked
from pneumonia.monitoring.kinds import name_kind
from pneumonia.monitoring.null_law import TESTS
from pneumonia.monitoring.sample import Sample
from pneumonia.monitoring.settings import DriftSettings

PREVALENCE = 0.62
"""Of reference and stream, where it is not what changes: PNEUMONIA among the published set's images of one place."""
SHARES = {"prevalence, weak": 0.4, "prevalence, strong": 0.2}
FOREIGN = {"foreign pictures, weak": 0.05, "foreign pictures, strong": 0.2}
KINDS = {"exposure": "acquisition", "compression": "acquisition", "scanner": "acquisition",
         "prevalence": "prevalence", "foreign pictures": "foreign pictures"}  # fmt: skip
AIMS = {"strong": 250, "weak": 1000}
LONGEST = 1500
LOOKED = Looked("", "", "", "", "", "", "", "")


@dataclass(frozen=True)
class Plan:
    """How many images the reference has, how many unchanged ones precede a change, and how a look is made."""

    reference: int = 600
    before: int = 250
    settings: DriftSettings = DriftSettings()  # noqa: RUF009 - frozen


class Replay:
    """One division of the held-out patients."""

    def __init__(self, forms: Mapping[str, Sample], plan: Plan, seed: int) -> None:
        """Draw the reference's patients."""
        self.forms, self.plan = forms, plan
        self.random = np.random.default_rng(seed)
        original = forms[ORIGINAL]
        self.reference = self._take(self._classes(original), plan.reference, PREVALENCE)
        self.detector = Detector(original.take(self.reference), plan.settings)

    def _classes(self, sample: Sample, without: NDArray[np.intp] | None = None) -> list[NDArray[np.intp]]:
        """Return the positions of negatives and of positives, patients in random order."""
        assert sample.patients is not None
        kept = np.ones(len(sample), bool)
        if without is not None:
            kept &= ~np.isin(sample.patients, sample.patients[without])
        keys = self.random.permutation(int(sample.patients.max()) + 1)[sample.patients]
        order = np.argsort(keys, kind="stable")
        order = order[kept[order]]
        return [order[sample.labels[order] == label] for label in (0, 1)]

    def _take(self, classes: list[NDArray[np.intp]], count: int, prevalence: float) -> NDArray[np.intp]:
        """Take as many images as there are, at most `count`, at a prevalence, patients of both classes mixed."""
        total = min(count, int(len(classes[0]) / (1 - prevalence)), int(len(classes[1]) / prevalence))
        positives = round(total * prevalence)
        chosen = np.concatenate([classes[0][: total - positives], classes[1][:positives]])
        patients = self.forms[ORIGINAL].patients
        assert patients is not None
        keys = self.random.permutation(int(patients.max()) + 1)[patients[chosen]]
        return chosen[np.argsort(keys, kind="stable")]

    def stream(self, change: str | None) -> Sample:
        """Return the stream: unchanged, or from image `Plan.before` on changed."""
        original = self.forms[ORIGINAL]
        classes = self._classes(original, self.reference)
        if change is None:
            return original.take(self._take(classes, LONGEST, PREVALENCE))
        first = self._take(classes, self.plan.before, PREVALENCE)
        rest = self._classes(original, np.concatenate([self.reference, first]))
        then = self._take(rest, LONGEST, SHARES.get(change, PREVALENCE))
        changed = self.forms.get(change, original).take(then)
        if change in FOREIGN:
            changed = _mixed(changed, self.forms[PICTURES], FOREIGN[change], self.random)
        return joined(original.take(first), changed)

    def looks(self, stream: Sample, start: int = 0) -> Iterator[tuple[int, Sample]]:
        """Yield after how many images each look is, and its window."""
        settings = self.plan.settings
        for end in range(max(start + settings.stride, min(settings.sizes)), len(stream) + 1, settings.stride):
            yield end, stream.take(np.arange(max(0, end - max(settings.sizes)), end))

    def control(self) -> dict[str, Any]:
        """Return the false alarms of an unchanged stream, alarms in a row as one, and the estimates' errors."""
        scores, errors = [], []
        loud: Counter[str] = Counter()
        stream = self.stream(None)
        for _, window in self.looks(stream):
            findings = self.detector.test(window)
            scores.append(findings.score)
            loud.update(_alarming(findings))
            errors.append(self.errors(window, None))
        alarm = np.array(scores) >= 1
        return {
            "images": len(stream),
            "looks": len(scores),
            "alarms": int((alarm & ~np.concatenate([[False], alarm[:-1]])).sum()),
            "alarm_looks": int(alarm.sum()),
            "tests": dict(loud),
            "errors": errors,
        }

    def changed(self, change: str) -> dict[str, Any]:
        """Return after how many changed images the alarm came, and what kind it named; None where it never came."""
        stream = self.stream(change)
        before = self.plan.before
        for end, window in self.looks(stream, before):
            findings = self.detector.test(window)
            if findings.score >= 1:
                named = name_kind(self.detector, window, findings)
                prevalence = named.prevalence.value if named.kind == "prevalence" and named.prevalence else None
                focus = window.last(findings.loudest.size) if findings.loudest else window
                error = self.errors(focus, prevalence)
                return {"after": end - before, "kind": named.kind, "errors": [error], "images": len(stream) - before}
        return {"after": None, "kind": "none", "errors": [], "images": len(stream) - before}

    def errors(self, window: Sample, prevalence: float | None) -> dict[str, float]:
        """Return estimated less true metrics of a window."""
        true, _ = measure_metrics(window)
        estimated = estimate_metrics(self.detector, window, prevalence)
        return {name: estimated[name].value - metric.value for name, metric in true.items()}


def _alarming(findings: Findings) -> set[str]:
    """Return the tests that are in alarm at any window size."""
    named = {TESTS[at] for one in findings.compared for at in np.flatnonzero(one.scores >= 1)}
    return named | ({"foreign"} if any(one.score >= 1 for one in findings.foreign) else set())


def joined(first: Sample, second: Sample) -> Sample:
    """Return one sample after the other."""
    both = zip(first.arrays().items(), second.arrays().values(), strict=True)
    arrays: dict[str, Any] = {name: np.concatenate([one, other]) for (name, one), other in both}
    return Sample(**arrays, threshold=first.threshold)


def _mixed(stream: Sample, pictures: Sample, share: float, random: np.random.Generator) -> Sample:
    """Put foreign pictures, drawn with replacement, between the images of a stream."""
    count = round(len(stream) * share / (1 - share))
    drawn = pictures.take(random.integers(len(pictures), size=count))
    both = joined(stream, drawn)
    at = np.concatenate([np.arange(len(stream)), random.uniform(-0.5, len(stream) - 0.5, count)])
    return both.take(np.argsort(at, kind="stable"))


def names() -> tuple[str, ...]:
    """Return the names of all changes."""
    return (*CHANGES, *SHARES, *FOREIGN)


@cache
def load_forms(path: Path) -> dict[str, Sample]:
    """Read what `compute_all` returned, with the threshold."""
    with np.load(path) as arrays:
        held: dict[str, dict[str, Any]] = {}
        for key in arrays.files:
            form, _, name = key.partition("/")
            held.setdefault(form, {})[name] = arrays[key]
    threshold = float(held.pop("threshold")["value"])
    return {form: Sample(**found, threshold=threshold) for form, found in held.items()}


def replay(path: Path, plan: Plan, seed: int) -> dict[str, Any]:
    """Make one replay: the control and every change."""
    one = Replay(load_forms(path), plan, seed)
    return {"control": one.control(), **{name: one.changed(name) for name in names()}}
