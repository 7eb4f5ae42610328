"""Decide whether a model becomes champion: each function judges one condition, and `verdict` puts them together.

A model of real radiographs is compared with the champion and with a pinned reference on the gate set, images as they
are and without shortcuts; one that is not refused there has to reach the minimums on the release set. What may be lost
and what must be reached is in the change control plan (`pneumonia.config.policy`). Demos have no plan: they are judged
by the minimums of their profile on the release set. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pneumonia.config.policy import MINIMUMS, Policy
from pneumonia.config.schema import GateConfig
from pneumonia.records.evaluation import (
    Champion,
    ComparedMetric,
    Metric,
    ModelComparison,
    Reason,
    ShortcutDependence,
    Verdict,
)
from pneumonia.statistics.comparison import overall

ALREADY_CHAMPION, WITHDRAWN = "already champion", "withdrawn"
CALIBRATION = {"ece_balanced": "both classes weighing the same", "ece_at_prevalence": "at the stated prevalence"}
WORDS = {
    "auroc": "AUROC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
}


def verdict(
    reasons: Sequence[Reason],
    metrics: Mapping[str, Metric],
    champion: Champion | None = None,
    policy: Policy | None = None,
    comparisons: Sequence[ModelComparison] = (),
    gate_metrics: Mapping[str, Mapping[str, Metric]] | None = None,
    *,
    released: bool = True,
) -> Verdict:
    """Put the reasons together.

    Args:
        reasons: one a condition.
        metrics: of the release set, or where it was not opened (`released`) of the gate set.
        champion: that the verdict is reached against; None where there is none.
        policy: the plan; None for demos.
        comparisons: with other models.
        gate_metrics: on the gate set, by view.
    """
    outcomes = [found.outcome for comparison in comparisons for found in comparison.metrics]
    return Verdict(
        passed=all(reason.passed for reason in reasons),
        reasons=tuple(reasons),
        metrics=dict(metrics),
        measured_on="release set" if released else "gate set",
        gate_metrics={view: dict(found) for view, found in (gate_metrics or {}).items()},
        comparisons=tuple(comparisons),
        outcome=overall(outcomes).value if outcomes else None,
        champion=champion,
        policy=None if policy is None else policy.digest,
    )


def demo_reasons(
    metrics: Mapping[str, Metric], config: GateConfig, dependence: Mapping[str, ShortcutDependence] | None = None
) -> list[Reason]:
    """Judge a demo by the minimums of its profile, which are compared with the values.

    Raises:
        ValueError: a required metric is missing.
    """
    _require(metrics)
    reasons = [_minimum(name, metrics[name], metrics[name].value, getattr(config, f"min_{name}")) for name in MINIMUMS]
    if dependence:
        falls = {name: found.separation for name, found in dependence.items()}
        values = {name: fall.value for name, fall in falls.items()}
        reasons.append(_dependence(falls, values, config.max_shortcut_dependence, ""))
    return reasons


def release_reasons(metrics: Mapping[str, Metric], policy: Policy) -> list[Reason]:
    """Judge a candidate by the plan's minimums, which are compared with the lower ends of the intervals.

    Raises:
        ValueError: a required metric is missing.
    """
    _require(metrics)
    limits = policy.protocol.minimums
    return [_minimum(name, metrics[name], metrics[name].low, limits[name], ", and its lower end") for name in MINIMUMS]


def dependence_reason(dependence: Mapping[str, ShortcutDependence], policy: Policy) -> Reason:
    """Judge the shortcut dependence beyond that of a change as strong, at the upper ends of its intervals.

    Raises:
        ValueError: there was no control.
    """
    falls = {name: found.beyond_control for name, found in dependence.items() if found.beyond_control is not None}
    if len(falls) < len(dependence) or not falls:
        raise ValueError("dependence: measured without a control")
    values = {name: fall.high for name, fall in falls.items()}
    return _dependence(falls, values, policy.protocol.max_shortcut_dependence, " at the upper end")


def calibration_reason(metrics: Mapping[str, Metric], policy: Policy) -> Reason:
    """Judge the calibration on the gate set: with both classes weighing the same, and at the stated prevalence."""
    limit = policy.protocol.max_calibration_error
    value = max(metrics[name].value for name in CALIBRATION)
    passed = value <= limit
    shown = " and ".join(_interval(words, metrics[name]) for name, words in CALIBRATION.items())
    text = f"the expected calibration error is {'at most' if passed else 'above'} {limit:g}: {shown}"
    return Reason(name="calibration", passed=passed, text=text, value=value, limit=limit)


def plan_reason(violations: Sequence[str]) -> Reason:
    """Judge whether a training is one that the plan foresees."""
    text = "; ".join(violations) if violations else "the training lies within the change control plan"
    hint = "; a change of this kind needs a new plan (gate.policy)" if violations else ""
    return Reason(name="plan", passed=not violations, text=text + hint)


def comparison_reason(comparison: ModelComparison, policy: Policy) -> Reason:
    """Judge a comparison: the outcome of every metric must be one that promotes."""
    promotes = policy.protocol.promotes
    stopping = [found for found in comparison.metrics if found.outcome not in promotes]
    where = f"{comparison.opponent} version {comparison.version}, images {comparison.view}"
    counted = "" if comparison.images == comparison.of else f" ({comparison.images} of {comparison.of} images)"
    seen = "; that model may have been trained on some of these images" if comparison.seen else ""
    told = "; ".join(_difference(found) for found in (stopping or comparison.metrics))
    return Reason(
        name=f"{comparison.opponent}, {comparison.view}",
        passed=not stopping,
        text=f"against {where}{counted}: {told}{seen}",
    )


def no_champion_reason() -> Reason:
    """Say that there is nothing to compare with."""
    return Reason(name="champion", passed=True, text="there is no champion yet to compare with")


def already_champion_reason(champion: Champion) -> Reason:
    """Refuse a model that is champion already, so that no promotion is needed."""
    text = f"these weights are already champion, as version {champion.version}"
    return Reason(name=ALREADY_CHAMPION, passed=False, text=text)


def withdrawn_reason(how: str) -> Reason:
    """Refuse a model that was champion and was withdrawn, which `how` says in one sentence."""
    return Reason(name=WITHDRAWN, passed=False, text=f"this model was champion, and {how}")


def withdrawn_in_another_use_reason(how: str) -> Reason:
    """Tell of weights that were withdrawn with another threshold or preprocessing, which refuses nothing."""
    text = f"these weights were champion in another use, and {how}"
    return Reason(name="withdrawn in another use", passed=True, text=text)


def is_good(found: Verdict) -> bool:
    """Return whether a model has passed by what it can do, whether or not it is champion already or was withdrawn."""
    return all(reason.passed for reason in found.reasons if reason.name not in (ALREADY_CHAMPION, WITHDRAWN))


def _require(metrics: Mapping[str, Metric]) -> None:
    if missing := [name for name in MINIMUMS if name not in metrics]:
        raise ValueError(f"metrics: {', '.join(missing)} missing")


def _minimum(name: str, metric: Metric, value: float, limit: float, which: str = "") -> Reason:
    passed = value >= limit
    shown, bound = _comparable_texts(value, limit)
    text = f"{WORDS[name]} {metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f}){which} {shown} is "
    if not which:
        text = f"{WORDS[name]} {shown} ({metric.low:.3f} to {metric.high:.3f}) is "
    return Reason(
        name=name, passed=passed, text=f"{text}{'at least' if passed else 'below'} {bound}", value=value, limit=limit
    )


def _dependence(falls: Mapping[str, Metric], values: Mapping[str, float], limit: float, which: str) -> Reason:
    worst = max(values, key=values.__getitem__)
    passed = values[worst] <= limit
    beyond = [name for name, value in values.items() if value > limit] or [worst]
    shown = ", ".join(_interval(name, falls[name]) for name in beyond)
    text = (
        f"the model depends on no shortcut by more than {limit:g}{which}; the most on {shown}"
        if passed
        else "the model depends on a shortcut; without it the classes' separation falls by more than "
        f"{limit:g}{which}: {shown}"
    )
    return Reason(name="shortcuts", passed=passed, text=text, value=values[worst], limit=limit)


def _interval(name: str, metric: Metric) -> str:
    return f"{name} {metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def _difference(found: ComparedMetric) -> str:
    metric, limit = found.difference, 0 - found.margin
    low, bound = _comparable_texts(metric.low, limit, "+")
    text = f"{WORDS[found.metric]} {found.outcome}, {metric.value:+z.3f} ({low} to {metric.high:+z.3f}), margin {bound}"
    if found.outcome == "cannot tell":
        needed = "no number of images" if found.images_to_tell is None else f"about {found.images_to_tell} images"
        text += f", and {needed} would tell"
    return text


def _comparable_texts(value: float, limit: float, sign: str = "") -> tuple[str, str]:
    """Return both as text, the value with enough decimals that the texts compare as the numbers do."""
    bound = f"{limit:{sign}}".removesuffix(".0")
    for decimals in range(3, 10):
        shown = f"{value:{sign}z.{decimals}f}"
        if (float(shown) >= limit) == (value >= limit):
            return shown, bound
    return f"{value:{sign}}", bound
