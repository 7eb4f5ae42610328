"""Hold the project's version against a tag, or set it in every place that names it.

versions.py show             the version of pyproject.toml
versions.py check v0.2.0     ends with 1 where a place has another version, or the changelog has no entry for it
versions.py set 0.2.0        changes the places, and heads what CHANGELOG.md has under "Unreleased" with the version

It needs Python alone, so that a release begins with it before anything is installed.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = (
    ("pyproject.toml", r'^version = "([^"]+)"$'),
    ("CITATION.cff", r"^version: (\S+)$"),
    ("docker-compose.yml", r"STACK_VERSION:-([^}]+)\}"),
    ("docs/deployment.md", r"^\| `STACK_VERSION` \| (\S+) \|"),
    ("deployments/kubernetes/*/Chart.yaml", r'^appVersion: "?([^"\s]+)"?'),
    ("deployments/kubernetes/airflow-values.yaml", r"\{repository: pneumonia-airflow, tag: ([^,}\s]+)"),
    ("deployments/cloud/cloud-init.yaml", r"^ +RELEASE='v([^']+)'$"),
    ("deployments/cloud/shape.toml", r'^release = "v([^"]+)"'),
    ("deployments/cloud/gcp/main.tf", r'^ +release = "v([^"]+)"$'),
)
"""Files, and a pattern whose group is the version; every match counts."""
VERSION = r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?"
"""What PEP 440 and a tag of an image both take."""
UNRELEASED = "## Unreleased\n"


def found(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the file and the version of every place.

    Raises:
        ValueError: a file that names the version does so no more.
    """
    for name, pattern in PLACES:
        for path in sorted(root.glob(name)) or [root / name] * ("*" not in name):
            versions = re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
            if not versions:
                raise ValueError(f"{path.relative_to(root)}: names no version; the pattern in PLACES is {pattern}")
            for version in versions:
                yield path.relative_to(root).as_posix(), version


def problems(root: Path, tag: str) -> list[str]:
    """Return what keeps a tag from being released, in words; empty where nothing does."""
    wanted = tag.removeprefix("v")
    if not re.fullmatch(f"v{VERSION}", tag):
        return [f"{tag}: a release's tag is v and a version, such as v0.2.0 or v0.2.0rc1"]
    wrong = [f"{name}: has version {version}, not {wanted}" for name, version in found(root) if version != wanted]
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## {re.escape(wanted)} - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        wrong.append(f"CHANGELOG.md: has no entry '## {wanted} - <date>'; versions.py set {wanted} makes it")
    return list(dict.fromkeys(wrong))


def set_version(root: Path, version: str, date: str) -> list[str]:
    """Write a version into every place and head the changelog's unreleased entries with it; return the files changed.

    Args:
        root: of the checkout.
        version: the new one.
        date: of the release, YYYY-MM-DD.

    Raises:
        ValueError: the version is none, the changelog has it already, or nothing is under "Unreleased".
    """
    if not re.fullmatch(VERSION, version):
        raise ValueError(f"{version}: is no version such as 0.2.0 or 0.2.0rc1")
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    if f"## {version} " in text:
        raise ValueError(f"CHANGELOG.md: has an entry for {version} already")
    before, head, after = text.partition(UNRELEASED)
    if not head or not after.partition("\n## ")[0].strip():
        raise ValueError("CHANGELOG.md: has nothing under '## Unreleased', so there is nothing to release")
    list(found(root))  # every place, before the first is changed
    changed = []
    for name, pattern in PLACES:
        for path in sorted(root.glob(name)):
            path.write_text(_replaced(path.read_text(encoding="utf-8"), pattern, version), encoding="utf-8")
            changed.append(path.relative_to(root).as_posix())
    changelog.write_text(f"{before}{head}\n## {version} - {date}\n{after}", encoding="utf-8")
    return [*changed, "CHANGELOG.md"]


def _replaced(text: str, pattern: str, version: str) -> str:
    def new(match: re.Match[str]) -> str:
        start, end = (place - match.start() for place in match.span(1))
        return match[0][:start] + version + match[0][end:]

    return re.sub(pattern, new, text, flags=re.MULTILINE)


def main() -> int:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["show", "check", "set"])
    parser.add_argument("value", nargs="?", default="", help="a tag to check, or a version to set")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    try:
        if chosen.command == "set":
            today = datetime.datetime.now(datetime.UTC).date().isoformat()
            print("\n".join(set_version(chosen.root, chosen.value, today)))
            return 0
        if chosen.command == "check":
            wrong = problems(chosen.root, chosen.value)
            print("\n".join(wrong) or f"{chosen.value}: every place has it", file=sys.stderr if wrong else sys.stdout)
            return int(bool(wrong))
        print(next(found(chosen.root))[1])
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
