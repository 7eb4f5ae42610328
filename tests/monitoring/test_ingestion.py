"""From readers' words and kept images to the next data version, its audit and its record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from pneumonia.data.layout import is_ingested
from pneumonia.data.manifest import Manifest
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.errors import ConfigError
from pneumonia.imaging.dicom import read_identifiers
from pneumonia.monitoring.database import Database, monitoring_folder
from pneumonia.monitoring.ingestion import gather, ingest_feedback
from pneumonia.records.feedback import LEFT_OUT, Ingested
from tests.data.test_recording import git, repository
from tests.support.identified import PATIENT_ID, identified, leaked
from tests.support.images import jpeg, picture, published
from tests.support.readers import answered, read


def config_of(tmp_path: Path, *assignments: str) -> Config:
    given = [f"work={tmp_path / 'work'}", "preprocess.size=64", *assignments]
    return resolve("fast", assignments=given, environment={})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    root = published(tmp_path / "set")
    return config_of(tmp_path, f"data.root={root}", f"monitoring.data_root={tmp_path / 'next'}")


def files(root: str | Path) -> list[str]:
    return sorted(file.relative_to(root).as_posix() for file in Path(root).rglob("*") if file.is_file())


def test_settled_labels_become_the_next_data_version(tmp_path: Path, config: Config) -> None:
    read(config, answered(config, jpeg(picture(101))), "NORMAL", "NORMAL")
    read(config, answered(config, jpeg(picture(102))), "NORMAL", "PNEUMONIA", adjudicator="PNEUMONIA")
    read(config, answered(config, jpeg(picture(103))), "NORMAL", "PNEUMONIA")
    read(config, answered(config, jpeg(picture(104))), "NORMAL")
    read(config, answered(config, None), "NORMAL", "NORMAL")
    answered(config, jpeg(picture(105)))
    before = files(tmp_path / "set")
    steps: list[float] = []
    done = ingest_feedback(config, lambda share, _all, _words="": steps.append(share))
    assert done.root == str(tmp_path / "next")
    assert done.added == done.total == {"NORMAL": 1, "PNEUMONIA": 1}
    assert done.left_out == {"no kept image": 1}
    assert done.unsettled == {"open": 1, "disputed": 1}
    assert done.leaks == ()
    assert Ingested.model_validate_json(done.model_dump_json()) == done
    assert set(done.left_out) <= set(LEFT_OUT)
    assert steps == sorted(steps)
    assert files(tmp_path / "set") == before
    assert [path.split("/")[:2] for path in files(done.root) if is_ingested(path)] == [
        ["train", "NORMAL"],
        ["train", "PNEUMONIA"],
    ]
    table = Path(config.work) / "audits" / f"ingested-{done.digest[:16]}" / "manifest.csv"
    assert Manifest.load(table).digest == done.digest
    again = ingest_feedback(config)
    assert again.added == {"NORMAL": 0, "PNEUMONIA": 0}
    assert (again.digest, again.total) == (done.digest, done.total)


def test_a_label_that_is_no_more_settled_leaves_the_data_version(config: Config) -> None:
    given = answered(config, jpeg(picture(101)))
    read(config, given, "NORMAL", "NORMAL")
    assert ingest_feedback(config).total == {"NORMAL": 1, "PNEUMONIA": 0}
    read(config, given, "NORMAL", "PNEUMONIA")
    done = ingest_feedback(config)
    assert (done.total, done.withdrawn) == ({"NORMAL": 0, "PNEUMONIA": 0}, 1)
    read(config, given, "PNEUMONIA", "PNEUMONIA")
    assert ingest_feedback(config).total == {"NORMAL": 0, "PNEUMONIA": 1}


def test_two_events_of_one_image_are_one_image(config: Config) -> None:
    """One patient is known from one of them; labels that contradict each other settle nothing."""
    who = Pseudonyms(Path(config.work)).of("7")
    one, two = answered(config, jpeg(picture(101))), answered(config, jpeg(picture(101)), patient=who)
    third, fourth = answered(config, jpeg(picture(102))), answered(config, jpeg(picture(102)))
    for given, label in ((one, "NORMAL"), (two, "NORMAL"), (third, "NORMAL"), (fourth, "PNEUMONIA")):
        read(config, given, label, label)
    done = ingest_feedback(config)
    assert (done.added, done.left_out) == ({"NORMAL": 1, "PNEUMONIA": 0}, {"labels differ": 1})
    assert [who in path for path in files(done.root) if is_ingested(path)] == [True]
    database = Database.of(config)
    gathered = gather(database, monitoring_folder(config))
    database.close()
    assert len(gathered.candidates) == len(gathered.unsettled) == 1


def test_nothing_identifying_reaches_the_data_version(config: Config) -> None:
    content = identified(picture(101))
    pseudonyms = Pseudonyms(Path(config.work))
    patient, study = (pseudonyms.of(each) for each in read_identifiers(content))
    given = answered(config, content, patient=patient, study=study)
    assert leaked(given.line()) == []
    read(config, given, "PNEUMONIA", "PNEUMONIA")
    done = ingest_feedback(config)
    (path,) = [path for path in files(done.root) if is_ingested(path)]
    assert pseudonyms.of(PATIENT_ID) in path
    assert leaked(path) == []
    assert leaked((Path(done.root) / path).read_bytes()) == []
    for file in (file for place in (config.work, done.root) for file in Path(place).rglob("*") if file.is_file()):
        assert leaked(file.read_bytes() + str(file.relative_to(Path(config.work).parent)).encode()) == [], file


def test_patients_of_the_test_folder_stay_out(config: Config) -> None:
    content = identified(picture(101))
    (Path(config.data.root) / "test" / "NORMAL" / "one.dcm").write_bytes(identified(picture(90)))
    given = answered(config, content, patient=Pseudonyms(Path(config.work)).of(PATIENT_ID))
    read(config, given, "NORMAL", "NORMAL")
    assert ingest_feedback(config).left_out == {"patient of the test folder": 1}


def test_an_image_in_the_data_version_stays_when_the_kept_one_is_gone(config: Config) -> None:
    given = answered(config, jpeg(picture(101)))
    read(config, given, "NORMAL", "NORMAL")
    digest = ingest_feedback(config).digest
    kept = monitoring_folder(config) / str(given.image)
    kept.unlink()
    again = ingest_feedback(config)
    assert (again.digest, again.left_out) == (digest, {})
    read(config, given, "PNEUMONIA", "PNEUMONIA")
    assert ingest_feedback(config).total == {"NORMAL": 0, "PNEUMONIA": 1}
    other = answered(config, jpeg(picture(102)))
    read(config, other, "NORMAL", "NORMAL")
    (monitoring_folder(config) / str(other.image)).unlink()
    assert ingest_feedback(config).left_out == {"no kept image": 1}


def test_phantoms_that_are_drawn_get_a_folder_of_their_own(tmp_path: Path) -> None:
    small = ("phantom.train=32", "phantom.test=24", "phantom.size=64", "registry.name=pneumonia-resnet18-phantom")
    with pytest.raises(ConfigError, match=r"monitoring\.data_root=DIR"):
        ingest_feedback(config_of(tmp_path, "data.root=phantom", *small))
    config = config_of(tmp_path, "data.root=phantom", f"monitoring.data_root={tmp_path / 'next'}", *small)
    drawn = ingest_feedback(config)
    assert sum(path.endswith(".jpeg") for path in files(drawn.root)) == 56
    assert (Path(drawn.root) / "phantom.json").is_file()


def test_a_leak_is_reported(config: Config) -> None:
    one = next((Path(config.data.root) / "test" / "NORMAL").iterdir())
    (Path(config.data.root) / "train" / "NORMAL" / "copy.jpeg").write_bytes(one.read_bytes())
    assert "duplicate_across_splits" in ingest_feedback(config).leaks


@pytest.mark.integration
def test_the_record_follows_and_is_committed(tmp_path: Path) -> None:
    root = published(tmp_path / "data" / "chest_xray")
    repository(tmp_path)
    for command in (["init", "-q"], ["config", "core.analytics", "false"], ["add", "-q", "data"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True, capture_output=True)
    git(tmp_path, "add", "data.dvc", ".gitignore", ".dvc")
    git(tmp_path, "commit", "-qm", "Data")
    config = config_of(tmp_path, f"data.root={root}")
    read(config, answered(config, jpeg(picture(101))), "NORMAL", "NORMAL")
    done = ingest_feedback(config, commit=True, project=tmp_path)
    assert done.notes == ()
    assert done.commit == git(tmp_path, "rev-parse", "HEAD").strip()
    assert done.dvc_md5 is not None
    assert done.dvc_md5 in git(tmp_path, "show", "HEAD:data.dvc")
    assert "1 NORMAL, 0 PNEUMONIA added" in git(tmp_path, "log", "-1", "--format=%B")
    again = ingest_feedback(config, commit=True, project=tmp_path)
    assert (again.commit, again.dvc_md5) == (None, done.dvc_md5)


def test_without_a_record_a_commit_is_refused_in_a_note(config: Config) -> None:
    assert "nothing was committed" in ingest_feedback(config, commit=True).notes[0]
