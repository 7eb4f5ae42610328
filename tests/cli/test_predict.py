"""`pneumonia predict` and `pneumonia evaluate`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pneumonia.cli.common import DISCLAIMER
from pneumonia.config.schema import Config, EvaluationConfig
from pneumonia.data.patients import identify
from pneumonia.files import printable
from pneumonia.inference.predictor import Predictor
from pneumonia.records.model import read_record
from pneumonia.registry import registration
from pneumonia.statistics.metrics import Scored, compute_metrics
from pneumonia.tracking.client import mlflow_client, tracking_uri
from tests.cli.console import call
from tests.support.exports import provide
from tests.support.images import dicom, picture
from tests.support.runs import settings
from tests.support.trained import leave_run, save

NAME = "pneumonia-resnet18"


@pytest.fixture
def labelled(phantoms: Path, tmp_path: Path) -> Path:
    """A folder with NORMAL/ and PNEUMONIA/ that a test may change."""
    return Path(shutil.copytree(phantoms / "test", tmp_path / "images"))


@pytest.fixture(autouse=True)
def _exported(weights: Path, tmp_path: Path) -> None:
    provide(tmp_path / ".pneumonia", weights)


def test_text_shows_probability_call_and_file(weights: Path, image: Path) -> None:
    done = call("predict", str(image), "--model", str(weights))
    assert done.exit_code == 0
    (expected,) = Predictor.load(str(weights), Config()).score([image])
    first, *rest = done.stdout.splitlines()
    assert first.split() == [f"{expected['probability']:.4f}", expected["decision"], str(image)]
    assert rest == [DISCLAIMER]


def test_json_is_what_the_predictor_says(weights: Path, image: Path) -> None:
    done = call("predict", str(image), "--model", str(weights), "--json")
    assert json.loads(done.stdout) == Predictor.load(str(weights), Config()).score([image])
    assert DISCLAIMER in done.stderr


def test_what_an_image_leaves_open_is_shown_below_its_score(weights: Path, tmp_path: Path) -> None:
    stray = picture().astype(np.uint16) * 16
    stray[4, 4] = 65_535
    (tmp_path / "stray.dcm").write_bytes(dicom(stray))
    done = call("predict", "stray.dcm", "--model", str(weights))
    assert done.exit_code == 0
    score, note, _ = done.stdout.splitlines()
    assert score.endswith("stray.dcm")
    assert note.strip().startswith("it names no range")
    (result,) = json.loads(call("predict", "stray.dcm", "--model", str(weights), "--json").stdout)
    assert result["notes"] == [note.strip()]


@pytest.mark.parametrize(("threshold", "decision"), [("0", "PNEUMONIA"), ("1", "NORMAL")])
def test_threshold_moves_the_call(threshold: str, decision: str, weights: Path, image: Path) -> None:
    done = call("predict", str(image), "--model", str(weights), "--threshold", threshold, "--json")
    (result,) = json.loads(done.stdout)
    assert (result["decision"], result["threshold"]) == (decision, float(threshold))


def test_folders_are_the_images_in_them(weights: Path, image: Path, labelled: Path) -> None:
    (labelled / "NORMAL" / "notes.txt").write_text("no image")
    done = call("predict", str(labelled), str(image), "--model", str(weights), "--json")
    assert done.exit_code == 0
    names = [result["file"] for result in json.loads(done.stdout)]
    assert names == [*sorted(str(path) for path in labelled.rglob("*.jpeg")), str(image)]


def test_each_refusal_has_its_line(weights: Path, image: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpeg").write_text("no picture")
    done = call("predict", "absent.png", str(image), "text.jpeg", "--model", str(weights))
    assert done.exit_code == 1
    absent, scored, text, _ = done.stdout.splitlines()
    assert "refused" in absent
    assert "absent.png: does not exist" in absent
    assert "refused" not in scored
    assert "text.jpeg: is not an image" in text
    assert "2 of 3 images refused" in done.stderr


def test_a_name_that_is_no_text_is_shown_all_the_same(weights: Path, image: Path) -> None:
    odd = b"caf\xe9.jpeg".decode(errors="surrogateescape")
    Path(odd).write_bytes(image.read_bytes())
    text = call("predict", odd, "--model", str(weights))
    assert (text.exit_code, "caf\\xe9.jpeg" in text.stdout) == (0, True)
    (result,) = json.loads(call("predict", odd, "--model", str(weights), "--json").stdout)
    assert result["file"] == odd


@pytest.mark.parametrize(
    "name", [b"R\xf6ntgen.jpeg", b"two\nlines.jpeg", b"a,\"b'.jpeg", b"x" * 250 + b".jpeg", "\U0001fa7b.jpeg".encode()]
)
def test_a_folder_with_any_name_is_scored_line_by_line(weights: Path, labelled: Path, name: bytes) -> None:
    first = next((labelled / "NORMAL").glob("*.jpeg"))
    odd = labelled / "NORMAL" / os.fsdecode(name)
    first.rename(odd)
    (labelled / "PNEUMONIA" / os.fsdecode(name)).touch()
    done = call("predict", str(labelled), "--model", str(weights))
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 25 + 1, "a line for each, and the disclaimer"
    found = call("evaluate", str(labelled), "--model", str(weights), "--json", "--on-unreadable", "skip")
    assert (found.exit_code, json.loads(found.stdout)["n"]) == (0, 24)
    text = call("evaluate", str(labelled), "--model", str(weights), "--on-unreadable", "skip")
    assert text.exit_code == 0
    assert f"left out: {printable(labelled / 'PNEUMONIA' / os.fsdecode(name))}: is empty" in text.stdout
    refused = call("evaluate", str(labelled), "--model", str(weights))
    assert (refused.exit_code, "1 of 25 images cannot be read" in refused.stderr) == (1, True)


def test_what_is_passed_over_is_told(weights: Path, image: Path, labelled: Path) -> None:
    (labelled / "NORMAL" / "IM000001").write_bytes(image.read_bytes())
    (labelled / "NORMAL" / "notes.txt").write_text("no image")
    (labelled / "list.xlsx").write_text("no image")
    (labelled / "NORMAL" / "Thumbs.db").write_text("no image")
    words = "passed over, because they are not JPEG, PNG or DICOM: 2 ("
    predicted = call("predict", str(labelled), "--model", str(weights), "--json")
    assert (predicted.exit_code, len(json.loads(predicted.stdout))) == (0, 25)
    evaluated = call("evaluate", str(labelled), "--model", str(weights), "--json")
    found = json.loads(evaluated.stdout)
    assert (found["n"], found["passed_over"]) == (
        25,
        [str(labelled / "NORMAL" / "notes.txt"), str(labelled / "list.xlsx")],
    )
    for done in (predicted, evaluated):
        assert words in done.stderr
        assert "notes.txt" in done.stderr
        assert "1 hidden or of an operating system" in done.stderr


@pytest.mark.parametrize("way", [("--on-unreadable", "skip"), ("--set", "data.on_unreadable=skip"), "variable"])
def test_there_is_one_way_to_leave_images_out(
    weights: Path, labelled: Path, way: tuple[str, str] | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (labelled / "NORMAL" / "a.jpeg").touch()
    options = () if way == "variable" else way
    if way == "variable":
        monkeypatch.setenv("PNEUMONIA_DATA__ON_UNREADABLE", "skip")
    evaluated = call("evaluate", str(labelled), "--model", str(weights), "--json", *options)
    assert (evaluated.exit_code, json.loads(evaluated.stdout)["n"]) == (0, 24)
    predicted = call("predict", str(labelled), "--model", str(weights), "--json", *options)
    assert (predicted.exit_code, "1 of 25 images refused" in predicted.stderr) == (0, True)
    back = call("evaluate", str(labelled), "--model", str(weights), *options, "--on-unreadable", "fail")
    assert (back.exit_code, "1 of 25 images cannot be read" in back.stderr) == (1, True)


def test_unreadable_images_are_found_before_any_is_scored(
    weights: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (labelled / "PNEUMONIA" / "zzz.jpeg").touch()
    monkeypatch.setattr(Predictor, "probabilities", lambda *_: pytest.fail("scored"))
    done = call("evaluate", str(labelled), "--model", str(weights))
    assert (done.exit_code, "1 of 25 images cannot be read" in done.stderr) == (1, True)


def test_a_class_of_which_nothing_can_be_read_is_named(weights: Path, labelled: Path) -> None:
    for file in (labelled / "NORMAL").iterdir():
        file.write_bytes(b"")
    done = call("evaluate", str(labelled), "--model", str(weights), "--on-unreadable", "skip")
    assert (done.exit_code, "NORMAL: no image can be read, and metrics need both" in done.stderr) == (1, True)


def test_a_folder_without_images_is_an_error(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = call("predict", "empty", "--model", str(weights))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "empty: holds no image" in done.stderr
    (tmp_path / "empty" / "scan.tif").write_bytes(b"II*")
    done = call("predict", "empty", "--model", str(weights))
    assert "passed over, because they are not JPEG, PNG or DICOM: 1 (empty/scan.tif)" in done.stderr


def test_without_a_champion_the_error_says_how_to_make_one(image: Path, work: Path) -> None:
    done = call("predict", str(image), "--set", f"work={work}")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no champion of pneumonia-resnet18 or pneumonia-resnet18-fast or" in done.stderr


def test_metrics_are_those_of_the_library(weights: Path, labelled: Path) -> None:
    done = call("evaluate", str(labelled), "--model", str(weights), "--json", "--set", "evaluation.bootstrap=200")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    predictor = Predictor.load(str(weights), Config())
    files = sorted(labelled.rglob("*.jpeg"))
    labels = [int(file.parent.name == "PNEUMONIA") for file in files]
    scores = [result["probability"] for result in predictor.score(files)]
    patients = [identify(file.name).key for file in files]
    expected = compute_metrics(Scored(labels, scores, patients, 0.5), EvaluationConfig(bootstrap=200))
    for name, metric in expected.items():
        assert found[name] == pytest.approx(metric.model_dump(), abs=1e-6), name
    assert found["n"] == 24
    assert found["counts"] == {"NORMAL": 12, "PNEUMONIA": 12}
    assert found["patients"] == len(set(patients)) < 24
    assert found["refused"] == []
    assert (found["model"], found["threshold"], found["confidence"]) == (predictor.name, 0.5, 0.95)


def test_intervals_are_drawn_by_patient(weights: Path, labelled: Path) -> None:
    """Each patient's image ten times over tells no more than once."""
    for file in list(labelled.rglob("*.jpeg")):
        for copy in range(9):
            shutil.copyfile(file, file.with_name(f"{file.stem}-{copy}.jpeg"))  # person1_bacteria_1-2: still person 1
    options = ("--model", str(weights), "--json", "--set", "evaluation.bootstrap=500")
    many = json.loads(call("evaluate", str(labelled), *options).stdout)
    assert many["n"] == 240
    width = many["auroc"]["high"] - many["auroc"]["low"]
    assert many["patients"] < 24
    assert width > 0.25, "240 independent images would give about 0.15"


def test_text_names_metrics_and_their_coverage(weights: Path, labelled: Path) -> None:
    done = call("evaluate", str(labelled), "--model", str(weights), "--set", "evaluation.confidence=0.9")
    assert done.exit_code == 0
    for words in ("24 images (12 NORMAL + 12 PNEUMONIA)", "90 % interval", "AUROC", "sensitivity", DISCLAIMER):
        assert words in done.stdout


def test_unreadable_images_stop_it_or_are_left_out(weights: Path, labelled: Path) -> None:
    (labelled / "NORMAL" / "a.jpeg").touch()
    (labelled / "PNEUMONIA" / "b.png").write_text("no picture")
    stopped = call("evaluate", str(labelled), "--model", str(weights), "--json")
    assert (stopped.exit_code, stopped.stdout) == (1, "")
    assert "2 of 26 images cannot be read" in stopped.stderr
    assert "a.jpeg" in stopped.stderr
    assert "b.png" in stopped.stderr
    skipped = call("evaluate", str(labelled), "--model", str(weights), "--json", "--on-unreadable", "skip")
    found = json.loads(skipped.stdout)
    assert skipped.exit_code == 0
    assert found["n"] == 24
    assert [Path(image["file"]).name for image in found["refused"]] == ["a.jpeg", "b.png"]


def test_unreadable_lists_are_kept_short(weights: Path, labelled: Path) -> None:
    for number in range(30):
        (labelled / "NORMAL" / f"empty{number:02}.jpeg").touch()
    done = call("evaluate", str(labelled), "--model", str(weights))
    assert done.exit_code == 1
    assert done.stderr.count("zero bytes") == 20
    assert "and 10 more" in done.stderr


def test_a_folder_of_another_layout_is_explained(weights: Path, phantoms: Path, labelled: Path) -> None:
    wrong = call("evaluate", str(phantoms.parent), "--model", str(weights))
    assert wrong.exit_code == 1
    assert "there is no folder NORMAL/ in it" in wrong.stderr
    assert str(phantoms / "test") in wrong.stderr, "and the right one is named"
    shutil.rmtree(labelled / "PNEUMONIA")
    (labelled / "PNEUMONIA").mkdir()
    empty = call("evaluate", str(labelled), "--model", str(weights))
    assert empty.exit_code == 1
    assert "PNEUMONIA: holds no image" in empty.stderr


def own(image: Path, root: Path) -> Path:
    """Images of equal names, in a folder for each patient, that differ in a byte after their end."""
    for name in ("NORMAL", "PNEUMONIA"):
        for number in range(4):
            place = root / name / f"{name[0]}{number}"
            place.mkdir(parents=True)
            (place / "IM0001.jpeg").write_bytes(image.read_bytes() + f"{name}{number}".encode())
    return root


def test_equal_names_say_nothing_about_the_patient(weights: Path, image: Path, tmp_path: Path) -> None:
    options = (str(own(image, tmp_path / "own")), "--model", str(weights))
    found = json.loads(call("evaluate", *options, "--json").stdout)
    assert (found["n"], found["patients"], found["unknown_patients"], found["copies"]) == (8, None, 8, 0)
    text = call("evaluate", *options).stdout
    assert "their patients are not known, so that intervals are by image" in text
    assert "patients.csv" in text


def test_a_folder_a_patient_by_option(weights: Path, image: Path, tmp_path: Path) -> None:
    folder = own(image, tmp_path / "own")
    done = call("evaluate", str(folder), "--model", str(weights), "--set", "data.patients=folder")
    assert "8 images (4 NORMAL + 4 PNEUMONIA) of 8 patients\n" in done.stdout


def test_home_folders_are_expanded(
    weights: Path, image: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    shutil.copy(weights, home / "m.safetensors")
    labelled.rename(home / "images")
    (home / "s.toml").write_text("[evaluation]\nbootstrap = 100\n")
    options = ("--model", "~/m.safetensors", "--config", "~/s.toml")
    assert call("predict", "~/images", *options).exit_code == 0
    assert call("evaluate", "~/images", *options).exit_code == 0
    assert call("data", "phantom", "~/p", "--train", "8", "--test", "8", "--size", "64").exit_code == 0
    assert (home / "p" / "chest_xray").is_dir()
    unknown = call("predict", "~nobody-of-that-name/x", *options)
    assert (unknown.exit_code, "no home folder is known for ~nobody-of-that-name" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_names_that_cannot_be_are_refused(weights: Path, command: str) -> None:
    done = call(command, "x" * 300, "--model", str(weights))
    assert done.exit_code == 1
    model = call(command, ".", "--model", "x" * 300 + ".safetensors")
    assert model.exit_code in (1, 2)
    for found in (done, model):
        assert "Traceback" not in found.stderr
        assert found.exception is None or isinstance(found.exception, SystemExit)


def test_a_file_in_both_classes_and_the_source_of_the_patients_are_told(
    weights: Path, labelled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ("evaluate", str(labelled), "--model", str(weights), "--set", "evaluation.bootstrap=100")
    before = call(*arguments)
    assert "patients known of images: 24 by published file names\n" in before.stdout
    assert "both classes" not in caplog.text
    copied = sorted((labelled / "NORMAL").iterdir())[0]
    shutil.copy(copied, labelled / "PNEUMONIA" / "person999_virus_1.jpeg")
    done = call(*arguments, "--json")
    assert "1 images lie in both classes" in caplog.text
    (files,) = json.loads(done.stdout)["in_both_classes"]
    assert {Path(file).name for file in files} == {copied.name, "person999_virus_1.jpeg"}
    assert all(file in caplog.text for file in files)


def test_a_withdrawn_model_is_told_by_whatever_address(
    weights: Path,
    image: Path,
    labelled: Path,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    uri = tracking_uri(settings(work))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    other = save(work / "other" / "model.safetensors", NAME, seed=1)
    for number, file in enumerate((weights, other, other), 1):
        run = leave_run(settings(work), file, key=str(number))
        if number < 3:
            assert call("promote", "--run", run, "--why", "x").exit_code == 0
    assert call("rollback", "--from", "2", "--why", "false alarms").exit_code == 0
    source = mlflow_client(uri).get_run(run).outputs.model_outputs[0].model_id
    registration.register(uri, read_record(other), run, f"models:/{source}")  # the same model as another version
    for address in (f"models:/{NAME}/2", f"models:/{NAME}/3", f"runs:/{run}"):
        caplog.clear()
        assert call("predict", str(image), "--model", address).exit_code == 0
        assert f"{address} is a model that was withdrawn" in caplog.text.replace("run:", "runs:/")
        assert "false alarms" in caplog.text
    caplog.clear()
    call("evaluate", str(labelled), "--model", f"models:/{NAME}/2", "--set", "evaluation.bootstrap=100")
    assert "false alarms" in caplog.text
    caplog.clear()
    call("predict", str(image))
    assert "withdrawn" not in caplog.text


def test_a_missing_file_is_named_where_the_model_is_missing_too(work: Path) -> None:
    done = call("predict", "/nope.png", "--set", f"work={work}")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("/nope.png: there is no such file\n")
