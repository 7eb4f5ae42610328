"""Derive a model's weaknesses from its own numbers, the serious ones first.

Nothing here is a general warning: each sentence follows from a document of the dossier, and names the section that
holds the numbers. What nobody has measured is a weakness too.
"""

from __future__ import annotations

from collections.abc import Iterator

from pneumonia.evidence.weak_parts import weak_changes, weak_slices
from pneumonia.records.dossier import Dossier, Weakness, Weight
from pneumonia.records.evaluation import Metric, Reason

ORDER: tuple[Weight, ...] = ("serious", "caution", "not known")
LOW = 0.9
"""Sensitivity or specificity below which one answer in ten of a class is wrong."""
CLOSE = 0.02
"""A criterion that passed with less than this to spare would fail on a few images more."""
WIDE = 0.10
"""Width of an interval from which a metric is hardly known."""
CERTAIN = 0.9
"""Probability from which an answer is a certain one."""
DEPENDENT = 0.1
"""Decrease of the separation by the removal of a shortcut feature that is worth a sentence."""
MISCALIBRATED = 0.05
CALIBRATION = {"ece_at_prevalence": "at the stated prevalence", "ece_balanced": "with both classes weighing the same"}
NOT_OF_THE_MODEL = ("already champion", "withdrawn", "champion")
NAMES = {"auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}


def find_weaknesses(dossier: Dossier) -> tuple[Weakness, ...]:
    """Return the weaknesses, the serious ones first, each kind in the order of the page.

    Args:
        dossier: with everything but its weaknesses.
    """
    found = [
        *_nature(dossier),
        *_outside(dossier),
        *_criteria(dossier),
        *_errors(dossier),
        *_shortcuts(dossier),
        *weak_slices(dossier),
        *weak_changes(dossier),
        *_certainty(dossier),
        *_selection(dossier),
    ]
    return tuple(sorted(found, key=lambda each: ORDER.index(each.weight)))


def shown(metric: Metric) -> str:
    """Return a value with its interval in words."""
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.0f} %"


def _nature(dossier: Dossier) -> Iterator[Weakness]:
    if dossier.phantom:
        text = "Every image that it learnt from and was measured on is synthetic: no number here is about patients."
        yield Weakness(weight="serious", topic="Trained on phantoms", text=text, section="data")
    if dossier.withdrawn:
        text = f"This version was withdrawn: {dossier.withdrawn}."
        yield Weakness(weight="serious", topic="Withdrawn", text=text, section="ledger")
    for move in dossier.moves:
        if move.despite and move.to_version == dossier.version:
            text = f"{move.who} promoted it despite {', '.join(move.despite)}: {move.why}."
            yield Weakness(weight="serious", topic="An override", text=text, section="ledger")
    if dossier.demo:
        text = (
            "It was judged by the minimums of a demonstration alone: there was no gate set, no comparison with another "
            "model and no change control plan."
        )
        yield Weakness(weight="caution", topic="A demonstration", text=text, section="verdict")
    profile = dossier.record.config.get("profile")
    if profile == "fast" and not dossier.phantom:
        text = "Profile fast trains for one epoch on a tenth of the patients; it shows how the pipeline works."
        yield Weakness(weight="serious", topic="Trained briefly", text=text, section="data")


def _outside(dossier: Dossier) -> Iterator[Weakness]:
    if not dossier.outside:
        text = (
            "Nobody has measured it on images of another place: nothing is known about other hospitals, devices and "
            "patients. All metrics below are of the data set that it was trained on."
        )
        weight: Weight = "not known" if dossier.phantom else "serious"
        yield Weakness(weight=weight, topic="No outside metrics", text=text, section="outside")
    inside = dossier.verdict.metrics if dossier.verdict else {}
    for each in dossier.outside:
        lower = [
            f"{words} {shown(each.metrics[name])}, inside {inside[name].value:.3f}"
            for name, words in NAMES.items()
            if name in each.metrics and name in inside and each.metrics[name].value < inside[name].low
        ]
        if lower:
            text = f"On {sum(each.counts.values())} images of {each.name} it does worse: {'; '.join(lower)}."
            yield Weakness(weight="serious", topic=f"Worse on {each.name}", text=text, section="outside")


def _criteria(dossier: Dossier) -> Iterator[Weakness]:
    if dossier.verdict is None:
        yield Weakness(weight="not known", topic="No verdict", text="No gate has judged this model.", section="verdict")
        return
    for reason in dossier.verdict.reasons:
        if reason.name in NOT_OF_THE_MODEL:
            continue
        name = NAMES.get(reason.name, reason.name)
        if not reason.passed:
            text = f"Criterion “{name}” is not met: {reason.text}."
            yield Weakness(weight="serious", topic=f"Failed: {name}", text=text, section="verdict")
        elif _is_close(reason):
            text = f"Criterion “{name}” is met by a margin of {_spare(reason):.3f} only: {reason.text}."
            yield Weakness(weight="caution", topic=f"Close: {name}", text=text, section="verdict")


def _spare(reason: Reason) -> float:
    return abs((reason.value or 0.0) - (reason.limit or 0.0))


def _is_close(reason: Reason) -> bool:
    return reason.value is not None and reason.limit is not None and _spare(reason) < CLOSE


def _errors(dossier: Dossier) -> Iterator[Weakness]:
    found = dossier.assessment
    if found is None:
        text = "What it is good for was not assessed: no slices, predictive values, decision curve or list of errors."
        yield Weakness(weight="not known", topic="No assessment", text=text, section="inside")
        return
    kinds = (
        ("sensitivity", found.positives, "misses", "of pneumonia"),
        ("specificity", found.negatives, "raises a false alarm on", "without it"),
    )
    for name, images, verb, of in kinds:
        if name not in found.metrics:
            continue
        rate = found.metrics[name]
        wrong = round((1 - rate.value) * images)
        if wrong:
            serious = rate.value < LOW
            text = f"It {verb} {wrong} of {images} images {of}: {name} {shown(rate)}."
            topic = "Missed pneumonia" if name == "sensitivity" else "False alarms"
            yield Weakness(weight="serious" if serious else "caution", topic=topic, text=text, section="errors")
    certain = [each for each in found.worst_errors if max(each.probability, 1 - each.probability) >= CERTAIN]
    if certain:
        missed = sum(each.label == "PNEUMONIA" for each in certain)
        text = (
            f"{len(certain)} of its errors are made with a probability beyond {percent(CERTAIN)}: {missed} missed, "
            f"{len(certain) - missed} false alarms. Its certainty is no safeguard."
        )
        yield Weakness(weight="caution", topic="Certain and wrong", text=text, section="errors")
    yield from _rare(dossier)


def _rare(dossier: Dossier) -> Iterator[Weakness]:
    """Say what a positive answer is worth where the disease is rare."""
    values = dossier.assessment.predictive_values if dossier.assessment else ()
    rare = min(values, key=lambda each: each.prevalence, default=None)
    if rare is not None and rare.ppv.value < LOW:
        text = (
            f"Where {percent(rare.prevalence)} of the patients have pneumonia, {percent(1 - rare.ppv.value)} of its "
            f"positive answers are false: predictive value {shown(rare.ppv)}."
        )
        yield Weakness(weight="caution", topic="Positive answers where it is rare", text=text, section="inside")


def _shortcuts(dossier: Dossier) -> Iterator[Weakness]:
    if dossier.dependence is None:
        text = "How far it depends on shortcut features was not recorded."
        yield Weakness(weight="not known", topic="Shortcut dependence", text=text, section="shortcuts")
    falls = {name: each.beyond_control or each.separation for name, each in (dossier.dependence or {}).items()}
    worst = sorted(falls, key=lambda name: falls[name].value, reverse=True)[:2]
    for name in worst:
        fall = falls[name]
        if fall.value >= DEPENDENT and fall.low > 0:
            text = (
                f"With “{name}” removed from the images, the separation of the classes falls by {shown(fall)}: a "
                "part of its answers rests on how images were made, not on lungs."
            )
            yield Weakness(weight="serious", topic=f"Depends on {name}", text=text, section="shortcuts")
    flagged = [each for each in dossier.shortcut_features if each.flagged and each.name != "all features together"]
    if flagged:
        listed = ", ".join(f"{each.name} (AUROC {each.auroc:.2f})" for each in flagged)
        text = f"In the training images the class can be predicted without the lungs, from {listed}."
        yield Weakness(weight="caution", topic="Shortcuts in the data", text=text, section="shortcuts")


def _certainty(dossier: Dossier) -> Iterator[Weakness]:
    metrics = dossier.verdict.metrics if dossier.verdict else {}
    known = {words: metrics[name] for name, words in NAMES.items() if name in metrics}
    wide = [f"{words} {shown(metric)}" for words, metric in known.items() if metric.high - metric.low > WIDE]
    if wide:
        text = f"The images are too few to know it better: {'; '.join(wide)}."
        yield Weakness(weight="caution", topic="Wide intervals", text=text, section="inside")
    for name, words in CALIBRATION.items():
        if name in metrics and metrics[name].value > MISCALIBRATED:
            text = f"Its probabilities are off by {shown(metrics[name])} on the mean, {words}."
            yield Weakness(weight="caution", topic="Calibration", text=text, section="inside")
            break
    if dossier.cross_validation is None:
        text = "One training alone was measured: how far metrics move with seed and division of patients is not known."
        yield Weakness(weight="not known", topic="No cross-validation", text=text, section="cross-validation")


def _selection(dossier: Dossier) -> Iterator[Weakness]:
    others = {each.weights for each in dossier.openings if not each.this_model and not each.demo}
    if others:
        text = (
            f"The release set was opened for {len(others)} other model{'s' if len(others) > 1 else ''} too: the more "
            "models are looked at on it, the more its metrics flatter the one that is kept."
        )
        yield Weakness(weight="caution", topic="Release set opened before", text=text, section="openings")
    for text in dossier.data.unknown:
        yield Weakness(weight="not known", topic="Data", text=text, section="data")
