"""Keep accepted images for feedback and training, reduced to their picture, under the digest of what is stored."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from pathlib import Path

from pneumonia.errors import DataError
from pneumonia.files import write_bytes
from pneumonia.imaging.bare import reduce_to_picture
from pneumonia.imaging.refusal import Refusal

FOLDER = "images"
_NAME = re.compile(rf"{FOLDER}/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})\.(jpeg|png|dcm)")

logger = logging.getLogger(__name__)


def keep(folder: Path, content: bytes) -> str:
    """Store an image's picture and a short list of metadata (`pneumonia.imaging.bare`), once for equal files.

    Args:
        folder: of monitoring.
        content: of the file as it was sent.

    Returns:
        Its name below the folder, ``images/<2 digits>/<sha256>.<jpeg, png or dcm>``, for the event.

    Raises:
        DataError: it is no such image, or the disk takes none; nothing is stored.
    """
    try:
        picture, suffix = reduce_to_picture(content)
    except Refusal as refusal:
        raise DataError(f"an image cannot be kept: it {refusal.reason}") from refusal
    digest = hashlib.sha256(picture).hexdigest()
    name = f"{FOLDER}/{digest[:2]}/{digest}.{suffix}"
    try:
        os.utime(folder / name)  # its age is that of its last event
    except FileNotFoundError:
        write_bytes(folder / name, picture)
    except OSError as error:
        raise DataError(f"{folder / name}: cannot be kept ({error.strerror}); grant rights there") from error
    return name


def kept_path(folder: Path, name: str) -> Path | None:
    """Return where a kept image lies or has lain; None where the name is none that `keep` gives."""
    return folder / name if _NAME.fullmatch(name) else None


def kept_file(folder: Path, name: str) -> Path | None:
    """Return the file of a kept image; None where it is not there any more, or the name is none that `keep` gives."""
    file = kept_path(folder, name)
    return file if file is not None and file.is_file() else None


def digest_of(name: str) -> str:
    """Return the sha256 in the name of a kept image, which is that of its content."""
    return Path(name).stem


def delete_old_images(folder: Path, days: int, now: float | None = None) -> int:
    """Delete kept images that no event has named for a number of days; 0 deletes none.

    Returns:
        The number of images that were deleted. One that cannot be deleted is reported in the log, and stays.
    """
    if not days:
        return 0
    before, deleted = (time.time() if now is None else now) - days * 86_400, 0
    for file in (folder / FOLDER).glob("??/*.*"):
        try:
            if file.stat().st_mtime < before and not file.name.startswith("."):
                file.unlink()
                deleted += 1
        except FileNotFoundError:
            continue  # another process was faster
        except OSError as error:
            logger.warning("%s: an old image cannot be deleted (%s)", file, error.strerror)
    return deleted
