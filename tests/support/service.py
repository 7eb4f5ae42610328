"""The service as its own process, with an exported model of phantoms in its work folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pneumonia.records.evaluation import Metric, OutsideMetrics
from pneumonia.registry.mirror import Mirror
from tests.support import exports

NAME = "pneumonia-tiny-phantom"
VERSION = "7"


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        url: of its page, with a slash at the end.
        work: its work folder, whose mirror names the champion.
        version: of the champion.
    """

    url: str
    work: Path
    version: str = VERSION


def crown(work: Path) -> None:
    """Write an exported model of phantoms into the mirror of a work folder, with metrics as a promotion writes them."""
    folder = work / "exported"
    record = exports.export(folder)
    metric = Metric(value=0.93, low=0.88, high=0.97)
    outside = OutsideMetrics(
        name="elsewhere", when="2026-01-02T03:04:05", rows="0" * 64, counts={"NORMAL": 20, "PNEUMONIA": 30},
        threshold=0.5, metrics={"auroc": metric},
    )  # fmt: skip
    champion = exports.champion(record, VERSION, NAME).model_copy(
        update={
            "metrics": dict.fromkeys(("auroc", "sensitivity", "specificity", "brier"), metric),
            "measured_on": "release set",
            "outside": (outside,),
        }
    )
    mirror = Mirror(work, NAME)
    mirror.folder(champion, lambda place: shutil.copytree(folder, place, dirs_exist_ok=True) and None)
    mirror.write(champion)


@contextmanager
def running(work: Path, key: str | None = None) -> Iterator[Service]:
    """Serve what a work folder's mirror names, on a free port, and end it at the end.

    Args:
        work: of `crown`, or an empty folder.
        key: the API key that is asked for; None: none is.
    """
    settings = {"work": work, "tracking.uri": f"sqlite:///{work}/mlflow.db", "serving.model": NAME}
    command = [sys.executable, "-m", "pneumonia", "serve", "--port", "0"]
    command += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    environment = os.environ | ({"PNEUMONIA_API_KEY": key} if key else {})
    with (
        (work / "service.log").open("ab") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        first = process.stdout.readline()
        try:
            assert first.startswith("http://"), (work / "service.log").read_text()
            yield Service(f"{first.split(': ')[0]}/", work)
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0, (work / "service.log").read_text()
