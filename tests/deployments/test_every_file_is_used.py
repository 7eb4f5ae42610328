"""Every file under deployments/ is read by a test or named by a document, by itself or with its folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.deployments.stack import ROOT

SPEAKING = ("docs", "README.md", "CONTRIBUTING.md", "SECURITY.md")
READING = ("tests", "deployments/Dockerfile", "docker-compose.yml", "Makefile", "deployments/deployments.mk", ".github")


def tracked(*places: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *places],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def words(*places: str) -> str:
    """Return the text of these files, without this test's own."""
    readable = (path for path in tracked(*places) if path.suffix not in (".png", ".svg", ".html"))
    return "\n".join(path.read_text(encoding="utf-8") for path in readable if path != Path(__file__))


def used(path: Path, text: str) -> bool:
    """Say whether a file is named by its path below deployments/, or a folder of its path is named as a whole.

    A folder counts below the rooms alone: `deployments/grafana/dashboards`, and not `deployments/grafana`.
    """
    below = path.relative_to(ROOT / "deployments")
    folders = [folder for folder in below.parents if len(folder.parts) >= 2]
    names = [f"deployments/{below}", *(f"deployments/{folder}" for folder in folders)]
    # a script is also named by the makefile's and other scripts' relative paths
    return any(name in text for name in names) or f"{below.parent.name}/{below.name}" in text or below.name in text


def test_every_file_is_used() -> None:
    text = words(*SPEAKING, *READING)
    files = tracked("deployments")
    assert len(files) > 40
    unused = [path.relative_to(ROOT).as_posix() for path in files if not used(path, text)]
    assert unused == []


def test_a_file_that_nobody_names_is_found() -> None:
    text = "deployments/grafana/dashboards and deployments/scripts/up.sh"
    names = ("grafana/dashboards/service.json", "scripts/up.sh", "scripts/down.sh", "grafana/other/one.json")
    there = {name: used(ROOT / "deployments" / name, text) for name in names}
    assert there == {
        "grafana/dashboards/service.json": True,
        "scripts/up.sh": True,
        "scripts/down.sh": False,
        "grafana/other/one.json": False,
    }
