"""What the doctor says of DVC: the record, the data, the remote, and what works without a Git repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.cli.check import Check
from pneumonia.cli.doctor_dvc import examine_dvc
from tests.cli.console import call
from tests.support.images import jpeg, picture
from tests.support.recorded import record


@pytest.fixture(autouse=True)
def _no_configuration_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"DVC_{name}_CONFIG_DIR", str(tmp_path / name))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone with data, their record, and a remote that verifies."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / ".git").mkdir()
    for seed in range(3):
        (folder / "data" / f"{seed}.jpeg").write_bytes(jpeg(picture(seed)))
    record(folder)
    (tmp_path / "remote" / "files" / "md5").mkdir(parents=True)
    configure(folder / ".dvc" / "config.local", str(tmp_path / "remote"))
    return folder


def configure(file: Path, url: str, verify: str = "true", default: str = "mine") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[core]\n    remote = {default}\n['remote \"mine\"']\n    url = {url}\n    verify = {verify}\n")


def examined(project: Path) -> dict[str, Check]:
    return {check.name: check for check in examine_dvc(project)}


def test_recorded_data_and_a_remote_that_verifies_are_ok(project: Path, tmp_path: Path) -> None:
    found = examined(project)
    assert [check.status for check in found.values()] == ["ok", "ok"]
    assert found["DVC remote"].text == f"mine: {tmp_path / 'remote'}"
    assert [check.status for check in examine_dvc(tmp_path / "elsewhere")] == ["ok"]


@pytest.mark.parametrize("url", ["{tmp}/nowhere", "file://{tmp}/nowhere", "../../nowhere"])
def test_a_remote_that_is_not_there(project: Path, tmp_path: Path, url: str) -> None:
    configure(project / ".dvc" / "config.local", url.format(tmp=tmp_path))
    found = examined(project)["DVC remote"]
    assert (found.status, "is not there" in found.text) == ("warn", True)
    assert "mount it, or name another: dvc remote modify --local mine url URL" in found.remedy


def test_a_folder_that_is_no_remote(project: Path, tmp_path: Path) -> None:
    configure(project / ".dvc" / "config.local", str(tmp_path))
    assert "holds no files of DVC 3" in examined(project)["DVC remote"].text


def test_a_remote_that_does_not_verify(project: Path, tmp_path: Path) -> None:
    configure(project / ".dvc" / "config.local", str(tmp_path / "remote"), verify="false")
    found = examined(project)["DVC remote"]
    assert (found.status, found.remedy) == ("warn", "dvc remote modify --local mine verify true")


def test_the_global_configuration_is_read(project: Path, tmp_path: Path) -> None:
    (project / ".dvc" / "config.local").unlink()
    none = examined(project)["DVC remote"]
    assert (none.status, "none is configured" in none.text, "dvc remote add" in none.remedy) == ("warn", True, True)
    configure(tmp_path / "GLOBAL" / "config", str(tmp_path / "remote"))
    assert examined(project)["DVC remote"].status == "ok"


def test_remotes_of_which_none_is_the_default(project: Path, tmp_path: Path) -> None:
    (project / ".dvc" / "config.local").write_text(f"['remote \"mine\"']\n    url = {tmp_path / 'remote'}\n")
    found = examined(project)["DVC remote"]
    assert (found.status, found.remedy) == ("warn", "dvc remote default --local NAME")


def test_passwords_are_not_shown_and_drivers_are_named(project: Path) -> None:
    configure(project / ".dvc" / "config.local", "s3://user:secret@place/images")
    found = examined(project)["DVC remote"]
    assert found.text.startswith("mine: s3://***@place/images")
    assert "secret" not in f"{found.text} {found.remedy}"
    assert found.remedy in ("", "pip install dvc-s3")


def test_a_configuration_that_dvc_refuses(project: Path) -> None:
    (project / ".dvc" / "config.local").write_text("no section\n")
    found = examined(project)["data.dvc"]
    assert (found.status, "DVC cannot use its configuration" in found.text) == ("fail", True)


def test_without_git_what_works_comes_first(project: Path, tmp_path: Path) -> None:
    (project / ".git").rmdir()
    found = examined(project)["DVC remote"]
    assert (found.status, found.remedy) == ("warn", "without Git, first: dvc config --local core.no_scm true")
    with (project / ".dvc" / "config.local").open("a") as file:
        file.write("[core]\n    no_scm = true\n".replace("[core]\n", ""))
    (project / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    configure(project / ".dvc" / "config.local", str(tmp_path / "remote"))
    assert examined(project)["DVC remote"].status == "ok"


def test_data_that_differ_are_named(project: Path) -> None:
    (project / "data" / "1.jpeg").write_bytes(jpeg(picture(9)))
    found = examined(project)["data.dvc"]
    assert (found.status, "1 changed (1.jpeg)" in found.text) == ("warn", True)
    assert "pneumonia data verify" in found.remedy


def test_data_that_are_not_there(project: Path) -> None:
    (project / "data").rename(project / "away")
    found = examined(project)["data.dvc"]
    assert (found.status, "is not there yet" in found.text, "dvc pull" in found.remedy) == ("warn", True, True)


def test_a_record_with_conflict_markers(project: Path) -> None:
    file = project / "data.dvc"
    file.write_text(f"<<<<<<< HEAD\n{file.read_text()}=======\n{file.read_text()}>>>>>>> other\n")
    found = examined(project)["data.dvc"]
    assert (found.status, "conflict markers (<<<<<<<)" in found.text) == ("fail", True)


def test_the_command_compares_file_by_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    same = call("data", "verify")
    assert (same.exit_code, "the files are the recorded ones" in same.stdout) == (0, True)
    (project / "data" / "1.jpeg").write_bytes(jpeg(picture(9)))
    differs = call("data", "verify", "data.dvc", "--json")
    assert (differs.exit_code, '"1.jpeg"' in differs.stdout) == (1, True)
    assert "verify true" in differs.stderr
    assert call("data", "verify", "absent.dvc").exit_code == 1
