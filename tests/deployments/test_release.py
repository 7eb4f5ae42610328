"""A release as scripts: versions, notes, two builds with the same bytes, checksums, signature, and the wheel in use."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pneumonia.registry.signature import PRIVATE, PUBLIC, make_keys
from tests.support.delivery import ROOT

PARTS = (
    "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "docker-compose.yml", "requirements.lock",
    "docs/deployment.md", "deployments/release", "deployments/library", "pneumonia", "tasks", "flows",
)  # fmt: skip
PYTHON = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env={**PYTHON, **variables}, capture_output=True, text=True, timeout=240)


def script(checkout: Path, name: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, f"deployments/release/{name}.py", *arguments, cwd=checkout, **variables)


def git(checkout: Path, *arguments: str) -> None:
    own = {"HOME": str(checkout), "GIT_CONFIG_NOSYSTEM": "1", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
    identity = ("-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "init.defaultBranch=main")
    done = run("git", *identity, *arguments, cwd=checkout, **own)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what a release is made of, committed; not to be changed."""
    folder = tmp_path_factory.mktemp("release") / "a checkout"
    for name in PARTS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for chart in (ROOT / "deployments/kubernetes").glob("*/Chart.yaml"):
        (folder / chart.relative_to(ROOT)).parent.mkdir(parents=True)
        shutil.copy(chart, folder / chart.relative_to(ROOT))
    (folder / ".gitignore").write_text("__pycache__/\n/dist/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all of it")
    return folder


@pytest.fixture(scope="module")
def dist(checkout: Path) -> Path:
    """The files of a release of it; not to be changed."""
    (checkout / "not committed.txt").write_text("part of no release")
    done = script(checkout, "build", "--out", checkout / "dist")
    assert done.returncode == 0, done.stderr
    assert "built twice with the same bytes" in done.stderr
    return checkout / "dist"


@pytest.fixture
def signed(dist: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    shutil.copytree(dist, folder)
    make_keys(tmp_path / "keys")
    done = script(ROOT, "signature", "sign", folder, "--key", tmp_path / "keys" / PRIVATE)
    assert done.returncode == 0, done.stderr
    return folder


def verified(folder: Path) -> subprocess.CompletedProcess[str]:
    return script(ROOT, "signature", "verify", folder, "--key", folder.parent / "keys" / PUBLIC)


@pytest.mark.integration
def test_it_holds_what_the_commit_holds(checkout: Path, dist: Path) -> None:
    version = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["version"]
    names = {path.name for path in dist.iterdir()}
    stem = f"pneumonia-{version}"
    assert names == {f"{stem}-py3-none-any.whl", f"{stem}.tar.gz", f"{stem}.cdx.json", "SHA256SUMS"}
    done = run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=dist)
    assert (done.returncode, done.stdout.count(": OK")) == (0, 3), done.stderr
    with zipfile.ZipFile(dist / f"{stem}-py3-none-any.whl") as wheel:
        assert {name.split("/")[0] for name in wheel.namelist()} == {"pneumonia", "tasks", f"{stem}.dist-info"}
        assert {each.date_time for each in wheel.infolist()} == {(2026, 1, 2, 3, 4, 4)}, "a wheel counts in two seconds"
    with tarfile.open(dist / f"{stem}.tar.gz") as source:
        members = source.getmembers()
    held = {member.name.split("/")[1] for member in members}
    assert {"pneumonia", "tasks", "flows", "pyproject.toml", "CHANGELOG.md", "LICENSE", "PKG-INFO"} <= held
    assert not any("not committed" in name or name.startswith((".git/", "dist")) for name in held)
    assert {stat.S_IMODE(member.mode) & 0o077 for member in members} <= {0o044, 0o055}, "whatever the umask was"


@pytest.mark.integration
def test_the_bill_of_materials_is_of_the_lock(checkout: Path, dist: Path) -> None:
    document = json.loads(next(dist.glob("*.cdx.json")).read_text())
    lines = re.findall(r"^([a-z0-9-]+)==([^\s;]+)(.*)", (checkout / "requirements.lock").read_text(), re.MULTILINE)
    elsewhere = ("== 'win32'", "== 'Windows'", "python_full_version >= '3.12'", "python_full_version >= '3.13'")
    locked = {name: version for name, version, marker in lines if not any(each in marker for each in elsewhere)}
    assert {"pywin32", "whenever"} & {name for name, *_ in lines}, "the resolution is for other machines too"
    parts = {part["name"]: part for part in document["components"]}
    assert set(parts) == set(locked) | {"torch", "torchvision"}
    for name, part in parts.items():
        hashes = [each for place in part.get("externalReferences", []) for each in place.get("hashes", [])]
        assert bool(hashes) == (name in locked), name
        assert name not in locked or part["version"] == locked[name]
    root = document["metadata"]["component"]
    assert (root["name"], root["version"]) == (
        "pneumonia",
        tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["version"],
    )
    edges = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert {"pkg:pypi/pillow@" + locked["pillow"], "pkg:pypi/pydantic@" + locked["pydantic"]} <= set(
        edges[root["bom-ref"]]
    )
    few = [parts[name] for name in ("numpy", "pillow", "torch")]
    document["components"] = few
    known = {part["bom-ref"] for part in few}
    document["dependencies"] = [{"ref": root["bom-ref"], "dependsOn": sorted(known)}]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None


@pytest.mark.integration
def test_nothing_is_built_of_changed_files_or_over_a_release(checkout: Path, dist: Path, tmp_path: Path) -> None:
    done = script(checkout, "build", "--out", dist)
    assert (done.returncode, done.stderr) == (2, f"{dist}: exists already; remove it, or name another folder\n")
    shutil.copytree(checkout, tmp_path / "changed", ignore=shutil.ignore_patterns("dist"))
    (tmp_path / "changed/README.md").write_text("another")
    done = script(tmp_path / "changed", "build", "--out", tmp_path / "dist")
    assert done.returncode == 2
    assert "not as they were committed" in done.stderr
    assert "README.md" in done.stderr
    assert not (tmp_path / "dist").exists()


@pytest.mark.integration
def test_the_source_archive_makes_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as source:
        source.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    epoch = str(int(datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC).timestamp()))
    command = (sys.executable, "-m", "hatchling", "build", "--target", "wheel")
    done = run(*command, cwd=unpacked, SOURCE_DATE_EPOCH=epoch)
    assert done.returncode == 0, done.stderr
    (wheel,) = (unpacked / "dist").iterdir()
    assert wheel.read_bytes() == (dist / wheel.name).read_bytes()


HOOK = """
import pathlib, time
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

class CustomBuildHook(BuildHookInterface):
    def initialize(self, version, build_data):
        pathlib.Path(self.root, "small/made.py").write_text(f"AT = {time.time_ns()}")
"""


@pytest.mark.integration
def test_two_builds_that_differ_are_no_release(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "small").mkdir(parents=True)
    (project / "small/__init__.py").touch()
    (project / "hatch_build.py").write_text(HOOK)
    head = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    hook = '[project]\nname = "small"\nversion = "1"\n[tool.hatch.build.hooks.custom]\n'
    (project / "pyproject.toml").write_text(head + hook)
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "all of it")
    done = script(ROOT, "build", "--root", project, "--out", tmp_path / "dist")
    assert done.returncode == 2
    assert "two builds of the same commit differ in small-1-py2.py3-none-any.whl, small-1.tar.gz" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["project"], "nothing was kept"


@pytest.mark.integration
def test_a_signature_holds_for_its_files_and_openssl_verifies_it_too(signed: Path) -> None:
    done = verified(signed)
    assert done.returncode == 0, done.stdout + done.stderr
    command = ("openssl", "dgst", "-sha256", "-verify", signed.parent / "keys" / PUBLIC)
    done = run(*command, "-signature", "SHA256SUMS.sig", "SHA256SUMS", cwd=signed)
    assert (done.returncode, done.stdout) == (0, "Verified OK\n"), done.stderr


@pytest.mark.integration
@pytest.mark.parametrize("wrong", ["changed", "missing", "added", "sums", "key", "unsigned"])
def test_a_release_that_is_not_as_it_was_signed_is_refused(signed: Path, wrong: str) -> None:
    wheel = next(signed.glob("*.whl"))
    expected = {
        "changed": f"{wheel.name}: is not the file that was released",
        "missing": f"{wheel.name}: is missing",
        "added": "more.whl: is not in SHA256SUMS",
        "sums": "SHA256SUMS.sig: was not made with this key, or not of this SHA256SUMS",
        "key": "SHA256SUMS.sig: was not made with this key, or not of this SHA256SUMS",
        "unsigned": "SHA256SUMS.sig: is not there, so that nobody has signed this release",
    }[wrong]
    if wrong in ("changed", "sums"):
        wheel.write_bytes(wheel.read_bytes() + b"\0")
    if wrong == "sums":
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        sums = (signed / "SHA256SUMS").read_text()
        (signed / "SHA256SUMS").write_text(re.sub(rf"\w+  {re.escape(wheel.name)}", f"{digest}  {wheel.name}", sums))
    if wrong == "missing":
        wheel.unlink()
    if wrong == "added":
        (signed / "more.whl").touch()
    if wrong == "key":
        shutil.rmtree(signed.parent / "keys")
        make_keys(signed.parent / "keys")
    if wrong == "unsigned":
        (signed / "SHA256SUMS.sig").unlink()
    done = verified(signed)
    assert (done.returncode, done.stdout.strip()) == (1, expected), done.stderr


@pytest.mark.integration
def test_an_encrypted_key_needs_its_password(dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(dist, tmp_path / "dist")
    monkeypatch.setenv("PNEUMONIA_SIGNING_PASSWORD", "a password")
    private, _ = make_keys(tmp_path / "keys")
    done = script(ROOT, "signature", "sign", tmp_path / "dist", "--key", private)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    done = script(
        ROOT, "signature", "sign", tmp_path / "dist", "--key", private, PNEUMONIA_SIGNING_PASSWORD="a password"
    )
    assert done.returncode == 0, done.stderr
    assert verified(tmp_path / "dist").returncode == 0


@pytest.mark.integration
def test_the_wheel_is_used_without_a_checkout(dist: Path) -> None:
    wheel = next(dist.glob("*.whl"))
    libraries = sysconfig.get_path("purelib")
    done = script(ROOT, "try_wheel", wheel, "--libraries", libraries, "--quick", HOME=str(dist))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"pneumonia {wheel.name.split('-')[1]}: drew 36 phantoms\naudited them\n"


@pytest.mark.integration
def test_a_wheel_that_is_not_what_its_name_says_fails(dist: Path, tmp_path: Path) -> None:
    wheel = next(dist.glob("*.whl"))
    shutil.copy(wheel, tmp_path / "pneumonia-9.9.9-py3-none-any.whl")
    libraries = sysconfig.get_path("purelib")
    done = script(ROOT, "try_wheel", tmp_path / "pneumonia-9.9.9-py3-none-any.whl", "--libraries", libraries, "--quick")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_the_wheel_trains_with_the_libraries_of_the_lock(dist: Path) -> None:
    variables = {name: os.environ[name] for name in ("PIP_FIND_LINKS", "HOME", "SSL_CERT_FILE") if name in os.environ}
    variables |= {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_"))}
    done = subprocess.run(
        [sys.executable, ROOT / "deployments/release/try_wheel.py", next(dist.glob("*.whl"))],
        env={**PYTHON, **variables},
        capture_output=True,
        text=True,
        timeout=1700,
    )
    assert done.returncode == 0, done.stderr
    assert "champion, version 1" in done.stdout
