"""`pneumonia evaluate`: the assessment on the terminal, as JSON and as a page, and changed images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pneumonia.cli.common import DISCLAIMER
from pneumonia.cli.out_folder import check_out
from pneumonia.config.schema import Config, EvaluationConfig
from pneumonia.evaluation.assessment import assess
from pneumonia.evaluation.scored_table import ScoredTable
from pneumonia.inference import outside_set
from pneumonia.records.assessment import Assessment, Robustness
from pneumonia.registry import models, robustness
from pneumonia.tracking.client import tracking_uri
from tests.cli.console import call
from tests.support.exports import export, provide
from tests.support.images import dicom, picture
from tests.support.registered import exported

OPTIONS = ("--set", "evaluation.bootstrap=100")


@pytest.fixture
def labelled(phantoms: Path, tmp_path: Path) -> Path:
    """A folder with NORMAL/ and PNEUMONIA/ that a test may change."""
    return Path(shutil.copytree(phantoms / "test", tmp_path / "images"))


@pytest.fixture(autouse=True)
def _exported(weights: Path, tmp_path: Path) -> None:
    provide(tmp_path / ".pneumonia", weights)


def test_the_page_holds_all_that_was_computed(weights: Path, labelled: Path, tmp_path: Path) -> None:
    done = call("evaluate", str(labelled), "--model", str(weights), "--json", "--out", "page", *OPTIONS)
    assert done.exit_code == 0, done.stderr
    page = tmp_path / "page"
    assert f"written: {Path('page') / 'report.md'}" in done.stderr
    assert {file.name for file in page.iterdir()} == {
        "report.md", "scores.csv", "assessment.json", "errors.png", "roc.png", "precision_recall.png", "confusion.png",
        "reliability.png", "decision_curve.png", "selective.png", "slices.png",
    }  # fmt: skip
    found = Assessment.model_validate(json.loads(done.stdout)["assessment"])
    assert found == Assessment.model_validate_json((page / "assessment.json").read_text())
    table = ScoredTable.read(page / "scores.csv")
    assert assess(table, EvaluationConfig(bootstrap=100), found.measured_on) == found, "from the scores alone"
    assert {image.subtype for image in table.images} == {"", "bacteria", "virus"}
    assert all(image.width == image.height > 0 and image.brightness for image in table.images)
    assert "Not a medical device" in (page / "report.md").read_text()


def test_the_terminal_shows_the_tables(weights: Path, labelled: Path) -> None:
    done = call("evaluate", str(labelled), "--model", str(weights), *OPTIONS)
    for words in (
        "PNEUMONIA is right (PPV)", "net benefit at a prevalence of 10%", "answered     images   errors",
        "all below are answered NORMAL", "subtype: viral, against all negatives", "worst errors", DISCLAIMER,
    ):  # fmt: skip
        assert words in done.stdout, words
    assert "robustness" not in done.stdout


def test_age_and_view_come_from_dicom_as_groups(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dicom"
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        (folder / name).mkdir(parents=True)
        for at in range(4):
            said = {"PatientID": f"P{label}{at}", "PatientAge": "004Y" if at % 2 else "047Y"}
            view = "PA" if at < 2 else "DR MILLER"
            (folder / name / f"{at}.dcm").write_bytes(dicom(picture(9 * label + at), ViewPosition=view, **said))
    done = call("evaluate", str(folder), "--model", str(weights), "--json", "--out", "page", *OPTIONS)
    slices = {(part["group"], part["value"]): part for part in json.loads(done.stdout)["assessment"]["slices"]}
    assert slices["age", "1 to 5 years"]["images"] == 4
    assert slices["view", "PA"]["images"] == slices["view", "other"]["images"] == 4
    written = (tmp_path / "page" / "scores.csv").read_text()
    assert not any(secret in written for secret in ("MILLER", "P00", "004Y", "047Y"))


def test_a_page_that_cannot_be_written_is_found_before_the_opening(
    weights: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[object] = []
    monkeypatch.setattr(outside_set, "enter", lambda *given: entered.append(given))
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/below", "/proc/page"):
        done = call("evaluate", str(labelled), "--model", str(weights), "--out", place, *OPTIONS)
        assert done.exit_code == 2, done.stderr
        assert f"--out {place}: nothing can be written there" in done.stderr
    assert entered == []
    check_out(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists(), "the trial leaves nothing behind"


@pytest.mark.integration
def test_a_registered_version_keeps_its_robustness(labelled: Path, tmp_path: Path, work: Path) -> None:
    for name in ("NORMAL", "PNEUMONIA"):
        for file in sorted((labelled / name).iterdir())[6:]:
            file.unlink()
    config = Config(work=str(work))
    folder = tmp_path / "export"
    export(folder)
    version = exported(config, folder)
    arguments = ("evaluate", str(labelled), "--model", version.uri, "--robustness", "--set", f"work={work}", *OPTIONS)
    done = call(*arguments, "--json", "--out", "page")
    assert done.exit_code == 0, done.stderr
    assert f"kept with {version.uri}" in done.stderr
    found = Robustness.model_validate(json.loads(done.stdout)["robustness"])
    assert (found.images, found.positives, len(found.rows)) == (12, 6, 35)
    uri = tracking_uri(config)
    assert robustness.find(uri, models.get(uri, version.name, version.version)) == found
    page = (tmp_path / "page" / "report.md").read_text()
    assert "## Robustness" in page
    assert "](robustness.png)" in page
    again = call(*arguments, "--threshold", "0.3")
    assert "robustness: 12 images" in again.stdout
    assert "kept with" not in again.stderr, "it is not the version's own threshold"
    assert robustness.find(uri, version) == found
