"""A small run that is judged by a change control plan, which allows everything that a test does not forbid."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.policy import COMPARED, MINIMUMS
from pneumonia.config.schema import Config
from tests.support.small import small


def write_plan(path: Path, *, margin: float = 1.0, minimum: float = 0.0, extra: str = "", **protocol: object) -> Path:
    """Write a plan.

    Args:
        path: of the TOML file.
        margin: of every metric.
        minimum: of every metric.
        extra: lines of ``[modifications]``.
        protocol: keys of ``[protocol]``.
    """
    allowed = {"max_shortcut_dependence": 2, "max_calibration_error": 1, "openings_per_release": 100} | protocol
    lines = ["version = 1", 'device = "A test."', "[modifications]", 'architectures = ["tiny"]', extra, "[protocol]"]
    lines += [f"{key} = {value!r}".replace("'", '"') for key, value in allowed.items()]
    lines += ["[protocol.margins]", *(f"{name} = {margin}" for name in COMPARED)]
    lines += ["[protocol.minimums]", *(f"{name} = {minimum}" for name in MINIMUMS)]
    path.write_text("\n".join(lines) + "\n")
    return path


def planned(work: Path, *assignments: str, plan: Path | None = None) -> Config:
    """Return the small configuration with a gate set and a plan."""
    file = plan or write_plan(work.parent / "plan.toml")
    return small(work, "gate.demo=false", f"gate.policy={file}", "data.gate_fraction=0.3", *assignments)
