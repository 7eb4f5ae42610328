"""Print the release notes of a version: what CHANGELOG.md has under its heading.

notes.py 0.2.0 [--links-to https://github.com/OWNER/REPOSITORY/blob/v0.2.0]

On a release's page a link into the repository needs its whole address, which --links-to begins.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"


def notes(changelog: str, version: str, links_to: str = "") -> str:
    """Return a version's part of the changelog, without its heading.

    Args:
        changelog: the whole text.
        version: such as 0.2.0; its heading is `## 0.2.0 - <date>`.
        links_to: what goes before relative links; empty leaves them.

    Raises:
        ValueError: there is no such heading, or nothing below it.
    """
    match = re.search(rf"^## {re.escape(version)}(?: - [^\n]*)?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if match is None or not match[1].strip():
        raise ValueError(f"CHANGELOG.md: says nothing of {version}; its heading is '## {version} - <date>'")
    body = match[1].strip() + "\n"
    return re.sub(r"\]\((?![a-z]+:|#)([^)]+)\)", rf"]({links_to.rstrip('/')}/\1)", body) if links_to else body


def main() -> int:
    """Print the notes on standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--links-to", default="", metavar="URL")
    parser.add_argument("--changelog", type=Path, default=CHANGELOG, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    try:
        print(notes(chosen.changelog.read_text(encoding="utf-8"), chosen.version, chosen.links_to), end="")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
