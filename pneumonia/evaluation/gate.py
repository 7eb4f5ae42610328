"""Decide whether a model becomes champion: minimums, and not worse than the champion on the same images."""

from __future__ import annotations

from collections.abc import Mapping

from pneumonia.config.schema import GateConfig
from pneumonia.records.evaluation import ChampionComparison, Metric, Reason, Verdict

# In the order of the reasons: metric, its field in `GateConfig`, its name in a sentence.
MINIMUMS = (
    ("auroc", "min_auroc", "AUROC"),
    ("sensitivity", "min_sensitivity", "sensitivity"),
    ("specificity", "min_specificity", "specificity"),
)


def judge(
    metrics: Mapping[str, Metric],
    config: GateConfig,
    champion: ChampionComparison | None = None,
    *,
    same: bool = False,
    dependence: Mapping[str, Metric] | None = None,
    withdrawn: str | None = None,
) -> Verdict:
    """Judge a candidate; a pure function.

    Args:
        metrics: the candidate's on the test folder; "auroc", "sensitivity" and "specificity" are needed.
        config: the minimums, compared with the values, and the AUROC that may be lost, compared with the interval's
            lower end (a test of non-inferiority: Piaggio et al., CONSORT 2010 extension, JAMA 2012).
        champion: the champion with the differences candidate − champion on the same images, of which "auroc" is needed;
            None where there is no champion.
        same: the candidate is the champion itself, so that no promotion is needed.
        dependence: by shortcut, the decrease of the classes' separation when it is removed from the images.
        withdrawn: in one sentence, how this very model was withdrawn; None where it was not.

    Raises:
        ValueError: a required metric is missing.
    """
    missing = [name for name, _, _ in MINIMUMS if name not in metrics]
    if missing:
        raise ValueError(f"metrics: {', '.join(missing)} missing")
    reasons = [_minimum(metrics[name], name, words, getattr(config, field)) for name, field, words in MINIMUMS]
    if dependence:
        reasons.append(_dependence(dependence, config.max_shortcut_dependence))
    if champion is None:
        reasons.append(Reason(name="champion", passed=True, text="there is no champion yet to compare with"))
    else:
        reasons.append(_already_champion(champion) if same else _not_worse(champion, config.max_auroc_loss))
    if withdrawn is not None:
        reasons.append(Reason(name="withdrawn", passed=False, text=f"this model was champion, and {withdrawn}"))
    return Verdict(
        passed=all(reason.passed for reason in reasons),
        reasons=tuple(reasons),
        metrics=dict(metrics),
        champion=champion,
    )


def _minimum(metric: Metric, name: str, words: str, limit: float) -> Reason:
    passed = metric.value >= limit
    value, bound = _comparable_texts(metric.value, limit)
    text = f"{words} {value} ({metric.low:.3f} to {metric.high:.3f}) is {'at least' if passed else 'below'} {bound}"
    return Reason(name=name, passed=passed, text=text, value=metric.value, limit=limit)


def _dependence(dependence: Mapping[str, Metric], limit: float) -> Reason:
    worst = max(dependence, key=lambda name: dependence[name].value)
    passed = dependence[worst].value <= limit
    beyond = [name for name, metric in dependence.items() if metric.value > limit] or [worst]
    values = ", ".join(
        f"{name} {metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
        for name, metric in ((name, dependence[name]) for name in beyond)
    )
    text = (
        f"the model depends on no shortcut by more than {limit:g}; the most on {values}"
        if passed
        else "the model depends on a shortcut; without it the classes' separation falls by more than "
        f"{limit:g}: {values}"
    )
    return Reason(name="shortcuts", passed=passed, text=text, value=dependence[worst].value, limit=limit)


def _already_champion(champion: ChampionComparison) -> Reason:
    text = f"these weights are already champion, as version {champion.version}"
    return Reason(name="already champion", passed=False, text=text)


def _not_worse(champion: ChampionComparison, loss: float) -> Reason:
    if "auroc" not in champion.differences:
        raise ValueError(f"differences: 'auroc' against champion version {champion.version} is missing")
    metric, limit = champion.differences["auroc"], 0 - loss
    passed = metric.low >= limit
    low, bound = _comparable_texts(metric.low, limit, "+")
    text = (
        f"AUROC differs from that of champion version {champion.version} by {metric.value:+z.3f} ({low} to "
        f"{metric.high:+z.3f}){_on(champion)}, and the lower end is {'at least' if passed else 'below'} {bound}"
    )
    return Reason(name="champion", passed=passed, text=text, value=metric.low, limit=limit)


def _on(champion: ChampionComparison) -> str:
    return "" if champion.images is None else f" on {champion.images} of {champion.of} images"


def _comparable_texts(value: float, limit: float, sign: str = "") -> tuple[str, str]:
    """Return both as text, the value with enough decimals that the texts compare as the numbers do."""
    bound = f"{limit:{sign}}".removesuffix(".0")
    for decimals in range(3, 10):
        shown = f"{value:{sign}z.{decimals}f}"
        if (float(shown) >= limit) == (value >= limit):
            return shown, bound
    return f"{value:{sign}}", bound
