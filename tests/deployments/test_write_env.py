"""The file of secrets."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments.stack import ROOT

pytestmark = pytest.mark.integration

SCRIPT = ROOT / "deployments/scripts/write_env.py"


def write(path: Path, *arguments: str) -> dict[str, str]:
    subprocess.run([sys.executable, SCRIPT, *arguments, path], check=True, timeout=30)
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_every_secret_is_random_and_the_file_its_owners(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    secret = {name for name in one if not name.endswith("_USER")}
    assert len(one) - len(secret) == 6
    assert all(one[name] != two[name] and len(one[name]) >= 24 for name in secret)
    assert len({one[name] for name in secret}) == len(secret)
    assert len(one["AIRFLOW_JWT_SECRET"]) == 64
    assert len(base64.urlsafe_b64decode(one["AIRFLOW_FERNET_KEY"])) == 32
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600


def test_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("# mine\nMLFLOW_PORT=5001\nPOSTGRES_PASSWORD=chosen\nAIRFLOW_SECRET_KEY=\n")
    subprocess.run([sys.executable, SCRIPT, path], check=True, timeout=30)
    first = path.read_text()
    assert first.startswith("# mine\nMLFLOW_PORT=5001\nPOSTGRES_PASSWORD=chosen\n")
    assert first.count("AIRFLOW_SECRET_KEY=") == 1
    subprocess.run([sys.executable, SCRIPT, path], check=True, timeout=30)
    assert path.read_text() == first


@pytest.mark.parametrize("arguments", [("--demoo", "env"), ("--dem", "env"), ("--Demo",), ("one", "two")])
def test_what_is_no_option_is_refused_and_no_file(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Secrets would be in a file of that name, which git does not ignore."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "unrecognized arguments: " in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [True, False])
def test_the_demo_has_the_documented_login_and_nothing_else_by_default(tmp_path: Path, before: bool) -> None:
    path = tmp_path / "env"
    if before:
        write(path)
    demo = write(path, "--demo")
    assert (demo["AIRFLOW_ADMIN_USER"], demo["AIRFLOW_ADMIN_PASSWORD"]) == ("airflow", "airflow")
    assert [name for name, value in demo.items() if value == "airflow"] == [
        "AIRFLOW_ADMIN_USER",
        "AIRFLOW_ADMIN_PASSWORD",
    ]
