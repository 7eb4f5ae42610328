"""Check the folder that a command is to write into before it begins its work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pneumonia.errors import ConfigError


def check_out(folder: Path) -> None:
    """Check that a folder can be made and written, by the trial of a temporary one; nothing is left behind.

    Args:
        folder: of the option ``--out``; it need not exist.

    Raises:
        ConfigError: it is a file, or nothing can be written there.
    """
    try:
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists() or each.is_symlink())
        if not there.is_dir():
            raise NotADirectoryError(20, "is no folder")
        with tempfile.TemporaryDirectory(prefix=".pneumonia-", dir=there) as place:
            (Path(place) / "file").touch()
    except OSError as error:
        raise ConfigError(
            f"--out {folder}: nothing can be written there ({error.strerror}); name another folder with --out"
        ) from None
