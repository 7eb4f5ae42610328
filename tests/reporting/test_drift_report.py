"""The report of a look at drift: what it says, and that its plots are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pneumonia.monitoring.detector import Detector
from pneumonia.monitoring.judge import Looked, judge
from pneumonia.monitoring.sample import Sample
from pneumonia.monitoring.settings import DriftSettings
from pneumonia.records.drift import DriftVerdict
from pneumonia.reporting.drift_report import drift_page, write_drift_report
from tests.support.drifting import Place, draw

SETTINGS = DriftSettings(sizes=(100, 200), resamples=100)
LOOKED = Looked("net", "7", "digest", "2026-11-26T04:00:00Z", "2026-11-25", "2026-11-26", "first", "last")


def verdict_of(window: Sample) -> DriftVerdict:
    return judge(Detector(draw(400, 1), SETTINGS), window, LOOKED)


def test_an_alarm_is_reported_with_its_plots(tmp_path: Path) -> None:
    found = verdict_of(draw(200, 2, Place(device=1.5)))
    values = np.linspace(0, 1, 50)
    page = write_drift_report(tmp_path / "new", found, (values, values**2))
    text = page.read_text(encoding="utf-8")
    assert "Alarm: acquisition. Look at the device" in text
    assert "Not a medical device" in text
    assert text.index("| width |") < text.index("![scores](scores.png)")
    for name in ("scores", "probabilities", "statistics", "metrics"):
        with Image.open(page.parent / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 10


def test_equal_verdicts_have_equal_reports(tmp_path: Path) -> None:
    found = verdict_of(draw(200, 3))
    pages = [write_drift_report(tmp_path / name, found) for name in ("one", "two")]
    one, two = ({file.name: file.read_bytes() for file in page.parent.iterdir()} for page in pages)
    assert one == two
    assert set(one) == {"report.md", "scores.png", "statistics.png", "metrics.png"}


def test_too_few_images_have_a_page_without_plots(tmp_path: Path) -> None:
    found = verdict_of(draw(20, 4))
    assert found.kind == "too few"
    page = write_drift_report(tmp_path, found)
    assert "No alarm (too few). Wait for more images." in page.read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.png"))
    assert drift_page(found) == page.read_text(encoding="utf-8")
