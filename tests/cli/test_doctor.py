"""Each check of the doctor, on machines that have what it looks for and on those that have not."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement

from pneumonia.cli import doctor
from pneumonia.cli.doctor import Check
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config, PhantomConfig
from pneumonia.data.phantom import dataset
from tests.support.answers import Answer
from tests.support.trained import leave_run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))  # not that of the person who runs the tests
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def only(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


def settings(*assignments: str) -> Config:
    return resolve("fast", assignments=assignments, environment={})


def test_this_machine_is_fit_and_every_trouble_has_a_remedy() -> None:
    checks = doctor.examine(settings())
    busy = {"memory", "work folder"}  # how much is free is no matter of the software
    assert [check for check in checks if check.status == "fail" and check.name not in busy] == []
    assert all(check.remedy for check in checks if check.status == "warn")
    names = [check.name for check in checks]
    assert len(names) == len(set(names))
    for name in (
        *doctor.EACH,
        "python",
        "git",
        "bf16",
        "cuda",
        "memory",
        "data",
        "data.dvc",
        "tracking",
        *doctor.PORTS,
    ):
        assert name in names
    assert only(checks, "torch").text == torch.__version__


def test_versions_are_held_against_pyproject() -> None:
    wanted = doctor._requirements()
    assert not wanted["torch"][1], "needed"
    assert wanted["prefect"][1], "only for the flow"
    assert wanted["uvicorn"][1], "only for the service"
    assert "pytest" not in wanted
    assert doctor._package("fastapi", *wanted["fastapi"]).status == "ok"
    newer = doctor._package("pydantic", Requirement(f"pydantic>{version('pydantic')}"), False)
    assert (newer.status, newer.remedy) == ("fail", f"pip install 'pydantic>{version('pydantic')}'")


@pytest.mark.parametrize(("optional", "status"), [(True, "warn"), (False, "fail")])
def test_a_package_that_is_missing(optional: bool, status: str) -> None:
    check = doctor._package("no-such-package", Requirement("no-such-package>=1"), optional)
    assert (check.status, check.text) == (status, "not installed")


def test_torch_and_torchvision_are_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._torch_pair().status == "ok"
    monkeypatch.setattr(torch, "__version__", "2.12.0+cpu")
    apart = doctor._torch_pair()
    assert apart.status == "fail"
    assert "not 2.12.0+cpu" in apart.text


def test_the_lock_is_compared_with_what_is_installed(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    assert "not found" in doctor._lock(lock).text
    lock.write_text(
        f"pydantic=={version('pydantic')} \\\n    --hash=sha256:0\nabsent-elsewhere==1 ; python_version > '3'\n"
    )
    assert doctor._lock(lock).status == "ok"
    lock.write_text("pydantic==0.1 \\\n    --hash=sha256:0\n")
    other = doctor._lock(lock)
    assert (other.status, other.text) == ("warn", f"installed is pydantic {version('pydantic')} for 0.1")


@pytest.mark.parametrize(("free", "status"), [(0.5, "fail"), (3, "warn"), (50, "ok")])
def test_disk(free: float, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free * doctor.GIB))
    check = doctor._disk(tmp_path)
    assert (check.status, bool(check.remedy)) == (status, status != "ok")
    assert f"{free:.1f} GiB free" in check.text


def test_a_work_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = doctor._disk(tmp_path / "file" / "work")
    assert (check.status, check.remedy) == ("fail", "make it writable, or choose another: --set work=DIR")


@pytest.mark.parametrize(("free", "status"), [(1.0, "fail"), (2, "warn"), (8, "ok")])
def test_memory(free: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=free * doctor.GIB))
    assert doctor._memory().status == status


def test_the_patients_key_is_to_be_backed_up_and_private(tmp_path: Path) -> None:
    path = tmp_path / "patient.key"
    assert list(doctor._patient_key(path)) == []
    path.write_bytes(bytes(32))
    path.chmod(0o600)
    (private,) = doctor._patient_key(path)
    assert private.status == "ok"
    assert "back it up with the work folder" in private.text
    path.chmod(0o644)
    (open_to_others,) = doctor._patient_key(path)
    assert (open_to_others.status, open_to_others.remedy) == ("warn", f"chmod 600 {path}")


def test_images_are_counted(tmp_path: Path) -> None:
    none = doctor._data(settings())
    assert (none.status, "phantoms are drawn" in none.text, "data fetch" in none.remedy) == ("warn", True, True)
    missing = doctor._data(settings("data.root=nowhere"))
    assert (missing.status, "nowhere: does not exist" in missing.text) == ("fail", True)
    root = dataset.generate(tmp_path, PhantomConfig(train=8, test=8, size=64))
    there = doctor._data(settings(f"data.root={root}"))
    assert (there.status, there.text) == ("ok", f"{root}: 16 phantoms")
    (root / "train" / "NORMAL" / "notes.txt").touch()
    more = doctor._data(settings(f"data.root={root}"))
    assert "passed over, because they are not JPEG, PNG or DICOM: 1 (train/NORMAL/notes.txt)" in more.text


def test_initial_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert doctor._weights(settings("data.root=phantom")).status == "ok", "phantoms need none"
    assert doctor._weights(settings("data.root=images", "model.weights=none")).status == "ok"
    needed = doctor._weights(settings("data.root=images"))
    assert (needed.status, "resnet18-f37072fd.pth" in needed.text) == ("warn", True)
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert doctor._weights(settings("data.root=images")) == Check(name="initial weights", status="ok", text=str(cached))
    assert doctor._weights(settings(f"model.weights={cached}")).status == "ok"
    assert doctor._weights(settings("model.weights=absent.pt")).status == "fail"


def test_services(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setitem(doctor.PORTS, "port 5000", (port, "pneumonia ui --mlflow-port"))
        checks = list(doctor._services(settings("tracking.uri=http://127.0.0.1:1")))
    taken = only(checks, "port 5000")
    assert taken.status == "warn"
    assert "is taken by process" in taken.text
    assert "pneumonia ui --mlflow-port PORT" in taken.remedy
    away = only(checks, "tracking")
    assert (away.status, "cannot be reached" in away.text) == ("fail", True)


# ---- what an administrator has set


def environment() -> list[Check]:
    return list(doctor._environment(settings()))


def test_the_environment_of_this_machine_is_told() -> None:
    assert [check.name for check in environment()] == ["home", "temporary files", "certificates", "proxy"]


def test_a_home_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    check = only(environment(), "home")
    assert (check.status, check.text) == ("warn", "/nowhere cannot be written")
    assert "TORCH_HOME" in check.remedy


def test_temporary_files_that_have_no_place_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    check = only(environment(), "temporary files")
    assert (check.status, check.remedy) == ("fail", "set TMPDIR to a folder that can be written")


def test_certificates_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    check = only(environment(), "certificates")
    assert check.status == "fail"
    assert "SSL_CERT_FILE=/nowhere/ca.pem: cannot be read" in check.text


def test_proxies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,corp.example")
    check = only(environment(), "proxy")
    assert "HTTPS_PROXY" in check.text
    assert "past them: localhost,corp.example" in check.text
    assert "secret" not in check.text


def test_a_flow_server_that_cannot_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(list(doctor._services(settings())), "flow server").status == "ok"
    (tmp_path / "prefect").mkdir(exist_ok=True)
    (tmp_path / "prefect" / "profiles.toml").write_text("active = [broken")
    check = only(list(doctor._services(settings())), "flow server")
    assert check.status == "fail"
    assert "profiles cannot be read" in check.text
    (tmp_path / "prefect" / "profiles.toml").unlink()
    with Answer(404, "nope") as server:
        monkeypatch.setenv("PREFECT_API_URL", f"{server.url}/api")
        assert "no Prefect server" in only(list(doctor._services(settings())), "flow server").text
    with Answer(200, '"3.8.8"') as server:
        monkeypatch.setenv("PREFECT_API_URL", f"{server.url}/api")
        assert only(list(doctor._services(settings())), "flow server").status == "ok"


def test_a_database_that_cannot_be_used_has_its_remedy(work: Path, tmp_path: Path) -> None:
    def tracking(folder: Path) -> Check:
        return only(list(doctor._services(settings(f"work={folder}"))), "tracking")

    assert tracking(work).status == "ok"
    config = settings(f"work={work}")
    leave_run(config, None)
    assert tracking(work).status == "ok", "an experiment that has no files yet"
    (work / "artifacts").mkdir(exist_ok=True)
    moved = work.rename(tmp_path / "moved")
    found = tracking(moved)
    assert (found.status, "the work folder was moved: move it back, or leave a link there" in found.text) == (
        "fail",
        True,
    )
    with closing(sqlite3.connect(moved / "mlflow.db")) as database:
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
        database.commit()
    newer = tracking(moved)
    assert (newer.status, "install the version that made it" in newer.text) == ("fail", True)
