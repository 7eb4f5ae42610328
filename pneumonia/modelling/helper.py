"""Run as a process, a worker that another one has started on this machine: see `local_workers`.

python -m pneumonia.modelling.helper FOLDER RANK SIZE OWNER
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from pneumonia.errors import PneumoniaError
from pneumonia.modelling.local_workers import end_with, handed_over, meeting_place, on_loopback, own_folder
from pneumonia.modelling.sharded_step import sharded_compute
from pneumonia.modelling.training_loop import help_fit
from pneumonia.modelling.workers import Workers, joined


def main(folder: Path, rank: int, size: int, owner: int) -> int:
    """Compute this worker's micro-batches until the training ends; 1 where it lost sight of the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; worker 0 decides
    end_with(owner)
    data, config, key = handed_over(folder)
    device = sharded_compute(config.train, rank).device
    own_folder(folder, rank).mkdir()
    try:
        with on_loopback(), joined(meeting_place(folder, size), Workers(rank, size, rank, device)) as workers:
            help_fit(data, config, own_folder(folder, rank), key, workers)
    except PneumoniaError:
        return 1  # worker 0 reports it, or is gone
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
