"""Answer the reporting checklists from what is in the bundle: an item is met where its files and fields are there.

The items, and how this project answers each, are in `claim.toml` and `tripod_ai.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumonia.records.dossier import BundleFile, Checklist, ChecklistItem, Dossier, Status

FILES = ("claim.toml", "tripod_ai.toml")


def answer(dossier: Dossier) -> tuple[Checklist, ...]:
    """Return the checklists, answered.

    Args:
        dossier: with everything but its checklists.
    """
    return tuple(_answer(Path(__file__).with_name(name), dossier) for name in FILES)


def _answer(path: Path, dossier: Dossier) -> Checklist:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    there = {file.path: file for file in dossier.files}
    items = tuple(_item(rule, dossier, there) for rule in document["item"])
    return Checklist(name=document["name"], reference=document["reference"], items=items)


def _item(rule: Mapping[str, Any], dossier: Dossier, there: Mapping[str, BundleFile]) -> ChecklistItem:
    number, topic = rule["number"], rule["topic"]
    if "inapplicable" in rule:
        return ChecklistItem(number=number, topic=topic, status="not applicable", note=rule["inapplicable"])
    if dossier.phantom and "phantom" in rule:
        return ChecklistItem(number=number, topic=topic, status="not applicable", note=rule["phantom"])
    files, fields = rule.get("files", []), rule.get("fields", [])
    absent = [*(name for name in files if name not in there), *(name for name in fields if not field(dossier, name))]
    if absent or not (files or fields):
        note = rule.get("missing", f"the dossier has no {', '.join(absent)}")
        return ChecklistItem(number=number, topic=topic, status="not done", note=note)
    status: Status = rule.get("status", "met")
    where = [*files, *([f"#{rule['section']}"] if "section" in rule else [])]
    return ChecklistItem(
        number=number,
        topic=topic,
        status=status,
        where=", ".join(where),
        digest=there[files[0]].sha256 if files else None,
        note=rule.get("note", ""),
    )


def field(dossier: Dossier, name: str) -> Any:
    """Return a field of the dossier, such as ``assessment.slices``; None where a document on the way is missing.

    Raises:
        AttributeError: there is no such field.
    """
    found: Any = dossier
    for part in name.split("."):
        if found is None:
            return None
        found = getattr(found, part)
    return found
