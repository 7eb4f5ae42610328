"""Name a run's artifacts in messages by their path in the run, not by the folder that they were fetched into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumonia.errors import DataError


@contextmanager
def named_by_artifact(folder: Path) -> Iterator[None]:
    """Raise each `DataError` of the block anew, without the folder before the paths that it names.

    Args:
        folder: that a run's artifacts are fetched into, and that is removed before anybody reads the message.
    """
    try:
        yield
    except DataError as error:
        text = str(error)
        shorter = text.replace(f"{folder}{os.sep}", "")
        if shorter == text:
            raise
        raise type(error)(shorter) from error
