"""Fill in cloud-init.yaml: what a person would edit before pasting it."""

from __future__ import annotations

from pathlib import Path

FILE = Path(__file__).with_name("cloud-init.yaml")
PLACE = " " * 6


def render(repository: str, release: str, secrets_from: str, settings: dict[str, str]) -> str:
    """Return the file with these values in place of its own.

    Args:
        repository: what is cloned.
        release: its tag.
        secrets_from: arguments of fetch_secrets.py; empty where the machine makes its own.
        settings: lines for .env, by name.
    """
    text = FILE.read_text(encoding="utf-8")
    values = {"REPOSITORY": repository, "RELEASE": release, "SECRETS_FROM": secrets_from}
    lines = [
        f"{PLACE}{name}='{values[name]}'" if (name := line.strip().partition("=")[0]) in values else line
        for line in text.splitlines()
    ]
    at = lines.index(f"{PLACE}# settings of this machine")
    lines[at : at + 1] = [lines[at], *(f"{PLACE}{name}={value}" for name, value in settings.items())]
    return "\n".join(lines) + "\n"
