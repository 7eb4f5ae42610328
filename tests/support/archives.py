"""Archives as the published one is: its layout, and what does not belong to it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from tests.support.images import jpeg, picture

PARTS = ("train/NORMAL", "train/PNEUMONIA", "val/NORMAL", "val/PNEUMONIA", "test/NORMAL", "test/PNEUMONIA")


def films(prefix: str = "chest_xray/") -> dict[str, bytes]:
    """One film in every part of the layout, by name."""
    return {f"{prefix}{part}/film{at}.jpeg": jpeg(picture(at)) for at, part in enumerate(PARTS)}


def published() -> dict[str, bytes]:
    """What the published archive is made of, with all that does not belong."""
    nested = films("chest_xray/chest_xray/")
    rubbish = {
        "__MACOSX/chest_xray/train/NORMAL/._film0.jpeg": b"resource fork",
        "chest_xray/__MACOSX/train/NORMAL/film0.jpeg": b"resource fork",
        "chest_xray/.DS_Store": b"finder",
        "chest_xray/train/.DS_Store": b"finder",
        "chest_xray/train/NORMAL/._film0.jpeg": b"resource fork",
        "chest_xray/readme.txt": b"read me",
    }
    return nested | films() | rubbish


def zipped(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return content.getvalue()


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
