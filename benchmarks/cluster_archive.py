"""Draw the archive of `cluster.py`, and measure one process of it: memory, and what listing and joining cost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import PreprocessConfig
from pneumonia.data.phantom.dataset import render
from pneumonia.data.places import open_place
from pneumonia.inference import archive
from pneumonia.inference.archive import score_archive
from pneumonia.inference.predictor import Predictor

DRAWN, SIDE, PART, PART_ROWS = 16, 1024, 16, archive.PART
"""Drawn phantoms and their side; images a part here, so that few images make many parts; rows of a part as it ships."""


def draw(folder: Path, count: int) -> Path:
    """Write `count` JPEG files of some drawn phantoms."""
    folder.mkdir(parents=True)
    drawn = []
    for at in range(DRAWN):
        file = folder / f"image {at:05d}.jpeg"
        Image.fromarray(render(at % 2, np.random.default_rng(at), SIDE)).save(file, quality=90)
        drawn.append(file.read_bytes())
    for at in range(DRAWN, count):
        (folder / f"image {at:05d}.jpeg").write_bytes(drawn[at % DRAWN])
    return folder


def model(work: Path) -> Predictor:
    """Return a ResNet18 with random weights, exported."""
    from pneumonia.modelling.network import build_network
    from pneumonia.modelling.weights import save_weights, state_digest
    from pneumonia.records.model import ModelRecord

    state = build_network("resnet18", "none", 0).state_dict()
    config = resolve(assignments=["data.root=phantom", f"work={work}", "serving.threads=1"], environment={})
    record = ModelRecord(
        name="pneumonia-resnet18-phantom", phantom=True, architecture="resnet18", flip_tta=False, threshold=0.5,
        preprocess=PreprocessConfig(size=224), weights_digest=state_digest(state), data_digest="0" * 64,
        split_digest="0" * 64, config=config.model_dump(mode="json"), library_version="benchmark",
    )  # fmt: skip
    work.mkdir(parents=True, exist_ok=True)
    save_weights(work / "model.safetensors", state, record)
    return Predictor.load(str(work / "model.safetensors"), config)


def memory(work: Path, source: Path, place: Path) -> dict[str, Any]:
    """Score once and four times the images, each in a process of its own; return the largest memory of each, MiB."""
    found: dict[str, Any] = {}
    large = place / "four times"
    large.mkdir()
    for copy in range(4):
        shutil.copytree(source, large / str(copy))
    for name, folder in (("once", source), ("four_times", large)):
        command = [
            sys.executable,
            str(Path(__file__).with_name("cluster.py")),
            "--memory",
            str(work),
            str(folder),
            str(place / f"{name}.parquet"),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
    found["more_mib"] = found["four_times"]["mib"] - found["once"]["mib"]
    return found


def measure_memory(work: str, source: str, out: str) -> None:
    """Score in this process, and print its largest memory while it scores."""
    archive.PART = PART
    config = resolve(assignments=["data.root=phantom", f"work={work}", "serving.threads=1"], environment={})
    place = open_place(source)
    predictor = Predictor.load(f"{work}/model.safetensors", config)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading the model
    counts = score_archive(predictor, place, place.survey(), out)
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"images": sum(counts.values()), "mib": peak // 2**10}))


def units(predictor: Predictor, source: Path, place: Path) -> dict[str, Any]:
    """Measure what one process does for the whole archive: listing and joining."""
    listed = place / "listed"
    count = 20_000
    for at in range(count):
        file = listed / f"{at // 1000:03d}" / f"{at:06d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    spent = time.process_time()
    open_place(str(listed)).survey()
    listing = time.process_time() - spent
    tracemalloc.start()
    contents = open_place(str(listed)).survey()
    _, grown = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    parts = open_place(str(place / "joined"))
    Path(parts.url).mkdir()
    rows = [row | {"file": name} for row, name in _rows(predictor, source, contents.images[:PART_ROWS])]
    for number in range(40):
        parts.publish(f"part-{number:06d}", lambda path: pq.write_table(archive._table(rows), path))
    spent = time.process_time()
    archive._join(parts, sorted(parts.names()), open_place(str(place)), "joined.parquet")
    joining = time.process_time() - spent
    return {
        "listing_ms_a_thousand_files": round(1e6 * listing / count, 2),
        "listing_bytes_a_file": round(grown / count),
        "joining_ms_a_thousand_rows": round(1e6 * joining / (40 * len(rows)), 2),
        "result_bytes_a_row": round((place / "joined.parquet").stat().st_size / (40 * len(rows)), 1),
    }


def _rows(predictor: Predictor, source: Path, names: Any) -> Iterator[tuple[dict[str, Any], str]]:
    place = open_place(str(source))
    (result,) = predictor.stream_from(place.survey().images[:1], place.read)
    for name in names:
        yield archive._row(result), name
