"""What docs/speed.md says is what was measured, and an aim that is not met is said to be."""

from __future__ import annotations

import pytest

from benchmarks import speed_tables
from benchmarks.speed_tables import (
    PAGE,
    others_table,
    processor_line,
    quality_line,
    quality_text,
    read,
    step_table,
)

TEXT = PAGE.read_text(encoding="utf-8")
STEP = read("step")
QUALITY = read("time_to_quality")


@pytest.mark.parametrize("found", [step_table(STEP), others_table(STEP), processor_line(STEP)])
def test_a_steps_table_is_the_result(found: str) -> None:
    assert found in TEXT


def test_the_times_to_quality_are_the_result() -> None:
    assert quality_text(QUALITY) in TEXT


def test_the_step_reaches_its_aim_on_avx2() -> None:
    assert STEP["met"] == (STEP["modes"]["fp32, AVX2 imitated"]["peak_share"] >= 0.7)
    assert STEP["met"], "docs/speed.md says that it does"


def test_parts_are_the_step() -> None:
    """The parts of a step, without the augmentation's own and the resize, sum up to no more than the whole."""
    for mode in STEP["modes"].values():
        own = [value for name, value in mode["parts_ms"].items() if not name.startswith(("augmentation: ", "resize"))]
        assert sum(own) == pytest.approx(mode["step_ms"], rel=0.1)


@pytest.mark.parametrize(("met", "words"), [(True, "is met."), (False, "is not met.")])
def test_an_aim_that_is_not_met_is_said(met: bool, words: str) -> None:
    found = {"times_as_fast": {"cpu_seconds": 6.4}, "met": met, "aim": 10.0, "precision": "bf16"}
    line = quality_line({**found, "target_auroc_without_shortcuts": 0.8327})
    assert "0.833, is reached 6.4 times as fast in bf16" in line
    assert line.endswith(f"the aim of 10 {words}")


def test_the_page_can_be_written_again(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "speed.md"
    copy.write_text(TEXT.replace(step_table(STEP), "old"), encoding="utf-8")
    monkeypatch.setattr(speed_tables, "PAGE", copy)
    speed_tables.main()
    assert copy.read_text(encoding="utf-8") == TEXT
