"""Run as a worker that one can lose: ready at once, and then killed or silent; the second start is a real one.

python -m tests.support.lost_worker FOLDER RANK SIZE OWNER; LOST_WORKER=killed|silent
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def main(folder: Path, rank: int, size: int, owner: int) -> int:
    """Be lost between the readiness and the meeting, once for each training."""
    if not (lost := folder.parent / "lost").exists():
        lost.touch()
        (folder / str(rank)).mkdir()
        if os.environ["LOST_WORKER"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)
    from pneumonia.modelling import helper

    return helper.main(folder, rank, size, owner)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
