"""Replay held-out images as a stream: who is the reference and who comes is drawn anew, by patient.

In a stream the images of a patient follow one another, and no image comes twice. Reference and stream have the
prevalence `PREVALENCE`, unless prevalence is what changes. A changed stream begins with unchanged images.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.drift_images import CHANGES, ORIGINAL, PICTURES
from pneumonia.monitoring.detector import Detector, Findings
from pneumonia.monitoring.estimated import expected_metrics, measure_metrics
from pneumonia.monitoring.judge import Looked
from pneumonia.monitoring.kinds import name_kind
from pneumonia.monitoring.null_law import TESTS
from pneumonia.monitoring.sample import Sample
from pneumonia.monitoring.settings import DriftSettings

PREVALENCE = 0.62
LONGEST = 1500
SHARES = {"prevalence, weak": 0.4, "prevalence, strong": 0.2}
FOREIGN = {"foreign pictures, weak": 0.05, "foreign pictures, strong": 0.2}
VIRAL = {"case mix, weak": 0.7, "case mix, strong": 1.0}
"""Share of the viral among the positives, of whom a third are otherwise; where the file names tell."""
KINDS = {"exposure": "acquisition", "compression": "acquisition", "scanner": "acquisition",
         "prevalence": "prevalence", "foreign pictures": "foreign pictures", "case mix": "case mix"}  # fmt: skip
LOOKED = Looked("", "", "", "", "", "", "", "")


@dataclass(frozen=True)
class Plan:
    """How a replay is made.

    Attributes:
        reference: images of the reference.
        before: unchanged images before a change.
        settings: of the detector.
    """

    reference: int = 600
    before: int = 250
    settings: DriftSettings = field(default_factory=DriftSettings)


@dataclass(frozen=True)
class Forms:
    """The held-out images, as they are and changed.

    Attributes:
        samples: by form, of the same images in the same order; the pictures are others.
        viral: bool [n], of a patient with viral pneumonia; all False where nobody knows.
        patients: int64 [n].
    """

    samples: Mapping[str, Sample]
    viral: NDArray[np.bool_]
    patients: NDArray[np.int64]


def save_forms(path: Path, forms: Mapping[str, Sample], viral: NDArray[np.bool_], model: Mapping[str, Any]) -> None:
    """Write forms to an npz file, for `load_forms`, with a description of the model that computed them."""
    arrays = {f"{form}/{name}": array for form, one in forms.items() for name, array in one.arrays().items()}
    threshold = np.array(forms[ORIGINAL].threshold)
    np.savez(path, viral=viral, threshold=threshold, model=np.array(json.dumps(model)), **arrays)  # type: ignore[arg-type]


def load_model(path: Path) -> dict[str, Any]:
    """Read the description of the model that computed the forms."""
    with np.load(path) as arrays:
        found: dict[str, Any] = json.loads(str(arrays["model"]))
    return found


@cache
def load_forms(path: Path) -> Forms:
    """Read the forms that a process replays."""
    held: dict[str, dict[str, Any]] = {}
    with np.load(path) as arrays:
        viral, threshold = arrays["viral"], float(arrays["threshold"])
        for key in arrays.files:
            form, slash, name = key.partition("/")
            if slash:
                held.setdefault(form, {})[name] = arrays[key]
    samples = {form: Sample(**found, threshold=threshold) for form, found in held.items()}
    return Forms(samples, viral, held[ORIGINAL]["patients"])


def changes(forms: Forms) -> tuple[str, ...]:
    """Return the names of all changes that these images can show."""
    return (*CHANGES, *SHARES, *FOREIGN, *(VIRAL if forms.viral.any() else ()))


def replay(path: Path, plan: Plan, seed: int) -> dict[str, Any]:
    """Make one replay: the control and every change."""
    forms = load_forms(path)
    one = Replay(forms, plan, seed)
    return {"control": one.control(), **{name: one.changed(name) for name in changes(forms)}}


class Replay:
    """One division of the held-out patients."""

    def __init__(self, forms: Forms, plan: Plan, seed: int) -> None:
        """Draw the reference's patients."""
        self.forms, self.plan = forms, plan
        self.original = forms.samples[ORIGINAL]
        self.random = np.random.default_rng(seed)
        self.reference = self._take(self._classes(()), plan.reference, PREVALENCE)
        self.detector = Detector(self.original.take(self.reference), plan.settings)

    def stream(self, change: str | None) -> Sample:
        """Return a stream: unchanged, or from image `Plan.before` on changed."""
        classes = self._classes((self.reference,))
        if change is None:
            return self.original.take(self._take(classes, LONGEST, PREVALENCE))
        first = self._take(classes, self.plan.before, PREVALENCE)
        rest = self._classes((self.reference, first))
        if change in VIRAL:
            rest[1] = self._viral(rest[1], VIRAL[change])
        then = self._take(rest, LONGEST, SHARES.get(change, PREVALENCE))
        changed = self.forms.samples.get(change, self.original).take(then)
        if change in FOREIGN:
            changed = _mixed(changed, self.forms.samples[PICTURES], FOREIGN[change], self.random)
        return joined(self.original.take(first), changed)

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
            errors.append(self._errors(window, None))
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
        stream, before = self.stream(change), self.plan.before
        for end, window in self.looks(stream, before):
            findings = self.detector.test(window)
            if findings.score >= 1:
                named = name_kind(self.detector, window, findings)
                prevalence = named.prevalence.value if named.kind == "prevalence" and named.prevalence else None
                recent = window.last(end - before)  # the changed images alone have one truth
                errors = [self._errors(recent, prevalence)]
                return {"after": end - before, "kind": named.kind, "errors": errors, "images": len(stream) - before}
        return {"after": None, "kind": "none", "errors": [], "images": len(stream) - before}

    def _errors(self, window: Sample, prevalence: float | None) -> dict[str, float]:
        """Return estimated less true metrics of a window."""
        true, _ = measure_metrics(window)
        seen = window.take(window.accepted)
        probabilities = self.detector.calibration.probabilities(seen.margins, prevalence)
        estimated = expected_metrics(probabilities, seen.margins, seen.decided, np.ones((1, len(seen))))
        return {name: float(estimated[name][0]) - metric.value for name, metric in true.items()}

    def _classes(self, without: tuple[NDArray[np.intp], ...]) -> list[NDArray[np.intp]]:
        """Return the positions of negatives and of positives of other patients, patients in random order."""
        patients = self.forms.patients
        kept = np.ones(len(patients), bool)
        for positions in without:
            kept &= ~np.isin(patients, patients[positions])
        order = self._shuffled(np.flatnonzero(kept))
        return [order[self.original.labels[order] == label] for label in (0, 1)]

    def _viral(self, positives: NDArray[np.intp], share: float) -> NDArray[np.intp]:
        """Return positives of whom a share is viral, as many as there are."""
        viral, bacterial = (positives[self.forms.viral[positives] == which] for which in (True, False))
        return self._shuffled(np.concatenate([viral, bacterial[: round(len(viral) * (1 - share) / share)]]))

    def _take(self, classes: list[NDArray[np.intp]], count: int, prevalence: float) -> NDArray[np.intp]:
        """Take as many images as there are, at most `count`, at a prevalence, patients of both classes mixed."""
        total = min(count, int(len(classes[0]) / (1 - prevalence)), int(len(classes[1]) / prevalence))
        positives = round(total * prevalence)
        return self._shuffled(np.concatenate([classes[0][: total - positives], classes[1][:positives]]))

    def _shuffled(self, positions: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return positions with patients in random order, and the images of each one after the other."""
        keys = self.random.permutation(int(self.forms.patients.max()) + 1)[self.forms.patients[positions]]
        return np.asarray(positions[np.argsort(keys, kind="stable")], dtype=np.intp)


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
    both = joined(stream, pictures.take(random.integers(len(pictures), size=count)))
    at = np.concatenate([np.arange(len(stream)), random.uniform(-0.5, len(stream) - 0.5, count)])
    return both.take(np.argsort(at, kind="stable"))
