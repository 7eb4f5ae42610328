"""Whether a model may become champion: floors, and not worse than the champion on the same films. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pneumonia.config.schema import GateConfig
from pneumonia.records.evaluation import ChampionComparison, Metric, Reason, Verdict

# What the floors hold, in the order of the reasons: figure, its field in `GateConfig`, its name in a sentence.
MINIMUMS = (
    ("auroc", "min_auroc", "AUROC"),
    ("sensitivity", "min_sensitivity", "sensitivity"),
    ("specificity", "min_specificity", "specificity"),
)


def judge(
    figures: Mapping[str, Metric],
    gate: GateConfig,
    differences: Mapping[str, Metric] | None = None,
    champion_version: str | int | None = None,
    *,
    champion_digest: str | None = None,
    same: bool = False,
    reliance: Mapping[str, Metric] | None = None,
) -> Verdict:
    """Judge a candidate.

    Args:
        figures: the candidate's on the test folder; "auroc", "sensitivity" and "specificity" are needed.
        gate: the floors, held against the values, and the AUROC that may be lost, held against the interval's lower end
            (a test of non-inferiority: Piaggio et al., CONSORT 2010 extension, JAMA 2012).
        differences: candidate − champion on the same films, from `evaluate.paired`; "auroc" is needed.
        champion_version: the champion's version in the registry, None where there is no champion.
        champion_digest: digest of the champion's weights.
        same: the candidate is the champion itself, which is a refusal without a fault.
        reliance: by shortcut, how much of the classes' separation goes when it is taken out of the films.

    Raises:
        ValueError: a figure that is needed is missing, or a champion and its differences do not come together.
    """
    if champion_version is None and differences:
        raise ValueError("differences, but no champion_version that they are against")
    missing = [name for name, _, _ in MINIMUMS if name not in figures]
    if missing:
        raise ValueError(f"figures: {', '.join(missing)} missing")
    reasons = [_minimum(figures[name], name, words, getattr(gate, field)) for name, field, words in MINIMUMS]
    if reliance:
        reasons.append(_reliance(reliance, gate.max_reliance))
    champion = None
    if champion_version is None:
        reasons.append(Reason(name="champion", passed=True, text="there is no champion yet to compare with"))
    else:
        champion = ChampionComparison(
            version=str(champion_version), weights_digest=champion_digest, differences=dict(differences or {})
        )
        reasons.append(_already(champion) if same else _not_worse(champion, gate.max_auroc_loss))
    return Verdict(
        passed=all(reason.passed for reason in reasons),
        reasons=tuple(reasons),
        figures=dict(figures),
        champion=champion,
    )


def _minimum(figure: Metric, name: str, words: str, limit: float) -> Reason:
    passed = figure.value >= limit
    value, bound = _apart(figure.value, limit)
    interval = f"({figure.low:.3f} to {figure.high:.3f})"
    text = f"{words} {value} {interval} is {'at least' if passed else 'below'} {bound}"
    return Reason(name=name, passed=passed, text=text, value=figure.value, limit=limit)


def _reliance(reliance: Mapping[str, Metric], limit: float) -> Reason:
    worst = max(reliance, key=lambda cue: reliance[cue].value)
    beyond = [cue for cue, figure in reliance.items() if figure.value > limit] or [worst]
    passed = reliance[worst].value <= limit
    told = ", ".join(f"{cue} {figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})" for cue, figure in
                     ((cue, reliance[cue]) for cue in beyond))  # fmt: skip
    bound = f"{limit:g}"
    text = (
        f"the model leans on no shortcut by more than {bound}; the most on {told}"
        if passed
        else f"the classes are told apart by a shortcut; without it their separation falls by more than {bound}: {told}"
    )
    return Reason(name="shortcuts", passed=passed, text=text, value=reliance[worst].value, limit=limit)


def _already(champion: ChampionComparison) -> Reason:
    text = f"these weights are already champion, as version {champion.version}"
    return Reason(name="already champion", passed=False, text=text)


def _not_worse(champion: ChampionComparison, loss: float) -> Reason:
    if "auroc" not in champion.differences:
        raise ValueError(f"differences: 'auroc' against champion version {champion.version} is missing")
    figure, limit = champion.differences["auroc"], 0 - loss
    passed = figure.low >= limit
    low, bound = _apart(figure.low, limit, "+")
    text = (
        f"AUROC differs from that of champion version {champion.version} by {figure.value:+z.3f} ({low} to "
        f"{figure.high:+z.3f}), and the lower end is {'at least' if passed else 'below'} {bound}"
    )
    return Reason(name="champion", passed=passed, text=text, value=figure.low, limit=limit)


def _apart(value: float, limit: float, sign: str = "") -> tuple[str, str]:
    """Both as text, the value with as many decimals as it takes that the text compares as the numbers do."""
    bound = f"{limit:{sign}}".removesuffix(".0")
    for decimals in range(3, 10):
        shown = f"{value:{sign}z.{decimals}f}"
        if (float(shown) >= limit) == (value >= limit):
            return shown, bound
    return f"{value:{sign}}", bound
