"""Every file under deployments/ is read by a test or named by a document, by itself or with its folder."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

from tests.deployments.stack import ROOT

BY_OTHERS = {
    "Dockerfile.dockerignore": "Docker reads it beside the Dockerfile",
    "scripts/common.sh": "the scripts beside it source it, which tests/deployments/test_backup.py runs",
    "wheels/.gitkeep": "keeps the folder that a build mounts",
    "prometheus/tests": "tests/deployments/test_alert_rules.py gives the folder to promtool",
}
"""Files and folders that are used without being named by their path."""
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


def used(path: Path, text: str, names: Counter[str]) -> bool:
    """Say whether a file is named: by its path, its module, a folder of its path, or a name that no other file has.

    A folder counts below the rooms alone: `deployments/grafana/dashboards`, and not `deployments/grafana`.
    """
    below = path.relative_to(ROOT / "deployments")
    folders = [folder for folder in below.parents if len(folder.parts) >= 2]
    known = [f"deployments/{below}", *(f"deployments/{folder}" for folder in folders)]
    known += [".".join(("deployments", *below.with_suffix("").parts))] if below.suffix == ".py" else []
    known += [below.name] if names[below.name] == 1 else []
    by_others = any((ROOT / "deployments" / name) in (path, *path.parents) for name in BY_OTHERS)
    return by_others or any(name in text for name in known)


def test_every_file_is_used() -> None:
    text, files = words(*SPEAKING, *READING), tracked("deployments")
    assert len(files) > 40
    names = Counter(path.name for path in files)
    unused = [path.relative_to(ROOT).as_posix() for path in files if not used(path, text, names)]
    assert unused == []


def test_a_file_that_nobody_names_is_found() -> None:
    text = "deployments/grafana/dashboards and deployments/scripts/up.sh, and common.yml"
    files = ("grafana/dashboards/one.json", "scripts/up.sh", "scripts/down.sh")
    files += ("grafana/other/two.json", "a/common.yml", "b/common.yml")
    names = Counter(name.rpartition("/")[2] for name in files)
    there = [name for name in files if used(ROOT / "deployments" / name, text, names)]
    assert there == ["grafana/dashboards/one.json", "scripts/up.sh"]
