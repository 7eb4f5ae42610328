"""Scoring an archive: every file once, whatever happens to the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pneumonia.config.schema import Config
from pneumonia.data.places import LocalPlace, open_place
from pneumonia.errors import PneumoniaError
from pneumonia.inference import archive
from pneumonia.inference import predictor as predictor_module
from pneumonia.inference.archive import Part, Scoring, score_archive, score_here
from pneumonia.inference.predictor import Predictor
from pneumonia.progress import Progress, silent
from tests.support import exports
from tests.support.scored_archive import make_archive

ROOT = Path(__file__).parents[2]
COUNT = 90


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exports.weights(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_archive(tmp_path / "archive", COUNT)


@pytest.fixture
def predictor(tmp_path: Path, weights: Path) -> Predictor:
    exports.provide(tmp_path / "work", weights)
    return Predictor.load(str(weights), Config(work=str(tmp_path / "work")))


def scored(predictor: Predictor, images: Path, out: Path, progress: Progress = silent) -> dict[str, int]:
    place = open_place(str(images))
    return score_archive(predictor, place, place.survey(), str(out), progress)


def test_each_file_has_one_row(predictor: Predictor, images: Path, tmp_path: Path) -> None:
    files = sorted(images.rglob("*.png"))
    done: list[float] = []
    counts = scored(predictor, images, tmp_path / "out.parquet", lambda at, _, message="": done.append(at))
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["file"] for row in table] == [file.relative_to(images).as_posix() for file in files]
    assert sum(counts.values()) == len(files) == COUNT + 1
    assert counts["unreadable"] == 1
    (refused,) = [row for row in table if row["code"] is not None]
    assert (refused["file"], refused["probability"]) == ("study 3/broken.png", None)
    assert "PNG" in refused["reason"]
    expected = {result["file"]: result for result in predictor.score(files)}
    for row in table:
        assert row["probability"] == expected[str(images / row["file"])].get("probability")
    assert done == sorted(done)
    assert done[-1] == len(files)
    assert not (tmp_path / "out.parquet.parts").exists()


def test_parts_of_another_scoring_are_not_continued(
    predictor: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PART", 10)
    monkeypatch.setattr(predictor_module, "AHEAD", 4)
    files = sorted(images.rglob("*.png"))
    read = LocalPlace.read
    begun = 0

    def stopped(self: LocalPlace, name: str) -> bytes:
        nonlocal begun
        begun += 1
        if begun > 35:
            raise KeyboardInterrupt
        return read(self, name)

    monkeypatch.setattr(LocalPlace, "read", stopped)
    with pytest.raises(KeyboardInterrupt):
        scored(predictor, images, tmp_path / "out.parquet")
    monkeypatch.setattr(LocalPlace, "read", read)
    parts = tmp_path / "out.parquet.parts"
    assert len(list(parts.glob("part-*.parquet"))) == 3
    kept = {part: part.stat().st_mtime_ns for part in parts.glob("part-*.parquet")}
    files[0].rename(tmp_path / "aside.png")
    with pytest.raises(PneumoniaError, match=r"files, digest changed since"):
        scored(predictor, images, tmp_path / "out.parquet")
    (tmp_path / "aside.png").rename(files[0])
    assert {part: part.stat().st_mtime_ns for part in parts.glob("part-*.parquet")} == kept
    assert sum(scored(predictor, images, tmp_path / "out.parquet").values()) == len(files)


def test_a_part_that_somebody_removed_is_no_short_result(
    predictor: Predictor, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PART", 20)
    place = open_place(str(images))

    def losing(scoring: Scoring, parts: Iterator[Part]) -> Iterator[int]:
        yield from score_here(scoring, parts)
        min((tmp_path / "out.parquet.parts").glob("part-*")).unlink()

    with pytest.raises(PneumoniaError, match="1 parts are gone, such as part-000000"):
        score_archive(predictor, place, place.survey(), str(tmp_path / "out.parquet"), mapper=losing)
    assert not (tmp_path / "out.parquet").exists()


def test_a_place_that_cannot_be_written_is_to_be_another_one() -> None:
    with pytest.raises(PneumoniaError, match=r"/proc/r: .* make it writable, or name another place"):
        LocalPlace(Path("/proc/r")).locked().__enter__()


KILLED = """
import sys, time
from pathlib import Path
from pneumonia.data.places import LocalPlace
from pneumonia.inference import archive
archive.PART = 4
read = LocalPlace.read
def slow(self, name):
    time.sleep(0.1)
    return read(self, name)
LocalPlace.read = slow
from pneumonia.cli.main import main
main()
"""


@pytest.mark.integration
@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.nightly)])
def test_killed_again_and_again_every_file_is_once_in_the_result(
    weights: Path, images: Path, tmp_path: Path, kills: int
) -> None:
    out, parts = tmp_path / "out.parquet", tmp_path / "out.parquet.parts"
    exports.provide(tmp_path / "work", weights)
    command = [sys.executable, "-c", KILLED, "score", str(images), "--out", str(out), "--model", str(weights)]
    command += ["--set", f"work={tmp_path / 'work'}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill in range(kills):
        before = len(list(parts.glob("part-*.parquet")))
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            while len(list(parts.glob("part-*.parquet"))) == before:
                assert child.poll() is None, f"it ended by itself before kill {kill}"
                time.sleep(0.005)
            os.kill(child.pid, signal.SIGKILL)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # one file is refused
    names = [row["file"] for row in pq.read_table(out).to_pylist()]
    assert sorted(names) == sorted(file.relative_to(images).as_posix() for file in images.rglob("*.png"))
