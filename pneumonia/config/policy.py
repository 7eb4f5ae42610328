"""Read the predetermined change control plan: what a retraining may change, how it is tested, and what follows.

`pccp.toml` beside this module is the plan that comes with the project; ``gate.policy`` names another one. The structure
follows FDA, "Marketing Submission Recommendations for a Predetermined Change Control Plan for AI-Enabled Device
Software Functions", December 2024.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from pneumonia.config.schema import ARCHITECTURES, CLASSES, Config
from pneumonia.config.section import Fraction, Section
from pneumonia.config.sources import from_toml
from pneumonia.errors import ConfigError

BUILT_IN = "built-in"
COMPARED = ("auroc", "sensitivity", "specificity", "balanced_accuracy")
"""The metrics with a margin of non-inferiority."""
MINIMUMS = ("auroc", "sensitivity", "specificity")
Outcomes = Literal["better", "not worse", "worse", "cannot tell"]


class Modifications(Section):
    """What may change without another plan.

    Attributes:
        architectures, classes: of the network.
        fewer_patients: whether a model may be trained on fewer patients than the champion.
        ranges: of a setting such as ``train.epochs``, the lowest and the highest value.
    """

    architectures: tuple[str, ...]
    classes: tuple[str, ...] = CLASSES
    fewer_patients: bool = False
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Modifications:
        if unknown := [name for name in self.architectures if name not in ARCHITECTURES]:
            raise ValueError(f"architectures: {', '.join(unknown)} unknown; known: {', '.join(ARCHITECTURES)}")
        for key, (low, high) in self.ranges.items():
            value = setting(Config(), key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"ranges: {key} is no setting that is a number")  # noqa: TRY004 — pydantic expects it
            if low > high:
                raise ValueError(f"ranges: {key}: {low:g} is above {high:g}")
        return self


class Protocol(Section):
    """How a candidate is tested.

    Attributes:
        promotes: the outcomes of a comparison with which a model may become champion.
        reference: version that candidates are compared with beside the champion; empty: the first champion.
        openings_per_release: how often the release set may be opened from one promotion to the next.
        max_shortcut_dependence: largest decrease of the separation by a shortcut's removal, beyond that by a change
            that touches no shortcut, at the upper end of its interval.
        max_calibration_error: largest expected calibration error on the gate set, with both classes weighing the same
            and at the stated prevalence (``evaluation.prevalence``).
        margins: by metric in `COMPARED`, what may be lost against another model on the gate set.
        minimums: by metric in `MINIMUMS`, on the release set, at the lower end of the interval.
    """

    promotes: tuple[Outcomes, ...] = ("better", "not worse")
    reference: str = ""
    openings_per_release: int = Field(3, ge=1, le=1000)
    max_shortcut_dependence: Annotated[float, Field(ge=0, le=2)] = 0.4
    max_calibration_error: Fraction = 0.15
    margins: dict[str, Fraction]
    minimums: dict[str, Fraction]

    @model_validator(mode="after")
    def _complete(self) -> Protocol:
        for name, given, wanted in (("margins", self.margins, COMPARED), ("minimums", self.minimums, MINIMUMS)):
            if set(given) != set(wanted):
                raise ValueError(f"{name}: give each of {', '.join(wanted)}, and nothing else")
        return self


class Impact(Section):
    """What may go well and badly, in words."""

    benefit: str = ""
    risk: str = ""
    mitigation: str = ""


class Policy(Section):
    """A predetermined change control plan."""

    version: int = Field(ge=1)
    device: str
    modifications: Modifications
    protocol: Protocol
    impact: Impact = Impact()

    @property
    def digest(self) -> str:
        """SHA-256 of the plan's values, in hex: comments and layout of the file do not count."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def load_policy(file: str = BUILT_IN) -> Policy:
    """Read a plan.

    Args:
        file: a TOML file, or `BUILT_IN`.

    Raises:
        ConfigError: the file cannot be read, or is no plan; the key is named.
    """
    path = Path(__file__).with_name("pccp.toml") if file == BUILT_IN else Path(file)
    try:
        return Policy.model_validate(from_toml(path))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, line['loc']))}: {line['msg']}" for line in error.errors(include_url=False)]
        raise ConfigError("\n  ".join([f"{path}: not a change control plan:", *lines])) from None


def setting(config: Config, key: str) -> Any:
    """Return the value of ``section.key``.

    Raises:
        ValueError: there is no such setting.
    """
    section, _, name = key.partition(".")
    found = getattr(getattr(config, section, None), name, None) if name else None
    if found is None:
        raise ValueError(f"{key} is no setting")
    return found


def violations(
    policy: Policy, config: Config, classes: tuple[str, ...], patients: int, champion_patients: int | None
) -> list[str]:
    """Return in a sentence each how a training lies outside the plan.

    Args:
        policy: the plan.
        config: of the training.
        classes: of the network.
        patients: in the training set.
        champion_patients: in that of the champion; None where there is none, or its record does not say.
    """
    allowed, found = policy.modifications, []
    if config.model.architecture not in allowed.architectures:
        found.append(f"the architecture {config.model.architecture} is none of {', '.join(allowed.architectures)}")
    if classes != allowed.classes:
        found.append(f"the classes {', '.join(classes)} are not {', '.join(allowed.classes)}")
    for key, (low, high) in allowed.ranges.items():
        if not low <= (value := setting(config, key)) <= high:
            found.append(f"{key}={value:g} is outside {low:g} to {high:g}")
    if not allowed.fewer_patients and champion_patients is not None and patients < champion_patients:
        found.append(f"it was trained on {patients} patients, fewer than the champion's {champion_patients}")
    return found
