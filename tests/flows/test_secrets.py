"""A password that the flow is given, in any way: nothing that a run leaves contains it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mlflow_server import Server, free_port
from tests.support.small import OPEN_GATE, SMALL

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t-w0rd-of-this-test"


def flow(work: Path, *settings: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PREFECT_", "PNEUMONIA_"))}
    environment |= {"PREFECT_HOME": str(work / "prefect"), "TMPDIR": str(work), **variables}
    given = [
        word for setting in (*SMALL, *OPEN_GATE, f"work={work / 'work'}", *settings) for word in ("--set", setting)
    ]
    return subprocess.run(
        [sys.executable, str(ROOT / "flows/pipeline.py"), *given],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def leaks(done: subprocess.CompletedProcess[str], *folders: Path) -> list[str]:
    """Return where the secret is found: the output, and every file below the folders, databases included."""
    assert all(any(folder.rglob("*")) for folder in folders), "there is something to search"
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    found = [str(path) for path in files if SECRET.encode() in path.read_bytes()]
    return [*found, *(name for name in ("stdout", "stderr") if SECRET in getattr(done, name))]


def test_the_address_in_a_variable_is_used_and_written_nowhere(tmp_path: Path, server: Server) -> None:
    done = flow(tmp_path, "tracking.uri=env:MINE", MINE=server.url.replace("://", f"://me:{SECRET}@"))
    assert done.returncode == 0, done.stderr
    assert "champion, version" in done.stdout
    assert "env:MINE" in next(tmp_path.glob("work/training/*/*/trained.json")).read_text()
    assert list((tmp_path / "prefect").glob("*.db"))
    assert leaks(done, tmp_path, server.folder) == []


def test_a_store_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    for place in (f"http://me:{SECRET}@127.0.0.1:{free_port()}", f"postgresql://me:{SECRET}@127.0.0.1:{free_port()}/x"):
        done = flow(tmp_path, "tracking.uri=env:MINE", MINE=place)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
        assert leaks(done, tmp_path) == []


@pytest.mark.parametrize("how", ["setting", "PNEUMONIA_TRACKING__URI", "MLFLOW_TRACKING_URI"])
def test_an_address_with_a_password_is_refused_and_written_nowhere(tmp_path: Path, how: str) -> None:
    (tmp_path / "kept").touch()
    place = f"http://me:{SECRET}@127.0.0.1:{free_port()}"
    done = flow(tmp_path, f"tracking.uri={place}") if how == "setting" else flow(tmp_path, **{how: place})
    assert done.returncode == 2, done.stderr
    assert "MLFLOW_TRACKING_USERNAME" in done.stderr
    assert "env:NAME" in done.stderr
    assert leaks(done, tmp_path) == []
