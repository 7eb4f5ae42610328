"""Measure OpenVINO against ONNX Runtime on the graphs that are served, and int8 on processors without VNNI.

python benchmarks/engines.py --weights FILE.safetensors --originals DIR [--images N] [--rounds N] [--results FILE]

The graphs are exported here, from one weights file: float32 and int8, each with and without mirror averaging. Images
are the test folder's originals, read as the service reads them; int8 is calibrated on training images. One thread, one
image at a time, graphs and engines in turns, so that other load on the machine affects all. A round's time is the
median over its images; given are the median over rounds and the fastest and the slowest round. `gap`: the largest
difference of a log odds between the two engines. `instruction_sets`: OpenVINO in a process whose kernels are limited to
an older processor's instructions, with the largest difference of a log odds from the same graph without that limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.processor import processor, versions
from pneumonia.data.layout import find_files
from pneumonia.imaging import radiograph
from pneumonia.inference.engine import Engine
from pneumonia.records.export import INPUT, OUTPUTS

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Logits, float32 [2], of pixels uint8 [S, S]."""
CALIBRATION = 64
PRECISIONS = ("fp32", "int8")
SETS = ("AVX2", "AVX512_CORE")
"""Values of oneDNN's ONEDNN_MAX_CPU_ISA: no VNNI in either."""


def export(weights: Path, originals: Path, folder: Path, count: int) -> dict[str, Any]:
    """Write the graphs and the images that they are measured on into a folder; return what they are."""
    from safetensors.torch import load_file

    from pneumonia.modelling.export import export_fp32, export_int8
    from pneumonia.modelling.network import assemble_network
    from pneumonia.records.model import read_record

    record = read_record(weights)

    def read(part: str, most: int) -> NDArray[np.uint8]:
        files = [path for path in find_files(originals) if path.relative_to(originals).parts[0] == part]
        chosen = np.random.default_rng(0).permutation(len(files))[:most]
        return np.stack([radiograph.read(files[at], record.preprocess).pixels for at in chosen])

    calibration, images = read("train", CALIBRATION), read("test", count)
    np.save(folder / "images.npy", images)
    for flip_tta in (True, False):
        network = assemble_network(load_file(weights), record.architecture, flip_tta=flip_tta)
        fp32, int8 = (folder / _name(precision, flip_tta) for precision in PRECISIONS)
        export_fp32(network, record.preprocess.size, fp32)
        export_int8(fp32, calibration, int8)
    return {
        "architecture": record.architecture,
        "size": record.preprocess.size,
        "flip_tta_of_the_record": record.flip_tta,
        "images": len(images),
        "calibration_images": len(calibration),
    }


def _name(precision: str, flip_tta: bool) -> str:
    return f"{precision}{'-mirrored' if flip_tta else ''}.onnx"


def openvino(graph: Path, size: int) -> Run:
    """Return the engine that is served, on one thread."""
    engine = Engine(graph, size, threads=1)
    return lambda pixels: engine.run(pixels).logits


def onnxruntime(graph: Path, _: int) -> Run:
    """Return ONNX Runtime on one thread, with all of its optimisations, which are its default."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits, _, _ = session.run(list(OUTPUTS), {INPUT: pixels[None]})
        return np.asarray(logits[0])

    return run


def timed(run: Run, images: NDArray[np.uint8]) -> float:
    """Return the median time of an image, ms."""
    took = []
    for image in images:
        began = time.perf_counter()
        run(image)
        took.append(time.perf_counter() - began)
    return 1000 * median(took)


def log_odds(run: Run, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the log odds of PNEUMONIA, float64 [N]."""
    logits = np.stack([run(image) for image in images]).astype(np.float64)
    margins: NDArray[np.float64] = logits[:, 1] - logits[:, 0]
    return margins


def gap(first: ArrayLike, second: ArrayLike) -> float:
    """Return the largest difference, to two digits."""
    return float(f"{np.abs(np.subtract(first, second)).max():.2g}")


def spread(rounds: list[float]) -> dict[str, float]:
    """Return the median of the rounds' times, ms, with the fastest and the slowest, and the rate."""
    middle = median(rounds)
    return {
        "ms": round(middle, 2),
        "fastest": round(min(rounds), 2),
        "slowest": round(max(rounds), 2),
        "images_per_second": round(1000 / middle, 1),
    }


def compare(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    """Measure every graph with both engines, in turns."""
    images = np.load(folder / "images.npy")
    names = [_name(precision, flip_tta) for flip_tta in (True, False) for precision in PRECISIONS]
    makers = {"openvino": openvino, "onnxruntime": onnxruntime}
    runs = {(name, engine): make(folder / name, size) for name in names for engine, make in makers.items()}
    margins = {key: log_odds(run, images) for key, run in runs.items()}  # warms them up as well
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for number in range(rounds):
        for key, run in runs.items():
            taken[key].append(timed(run, images))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    found: dict[str, Any] = {}
    for name in names:
        ours, other = taken[name, "openvino"], taken[name, "onnxruntime"]
        found[Path(name).stem] = {
            "openvino": spread(ours),
            "onnxruntime": spread(other),
            "times_as_fast": round(median(b / a for a, b in zip(ours, other, strict=True)), 2),
            "gap": gap(margins[name, "openvino"], margins[name, "onnxruntime"]),
        }
    return found


def child(folder: Path, name: str, size: int, rounds: int) -> None:
    """Measure one graph with OpenVINO in this process, and print its times and log odds."""
    images = np.load(folder / "images.npy")
    run = openvino(folder / name, size)
    margins = log_odds(run, images)
    print(json.dumps({"rounds": [timed(run, images) for _ in range(rounds)], "margins": margins.tolist()}))


def limited(folder: Path, name: str, size: int, rounds: int) -> dict[str, Any]:
    """Measure a graph with OpenVINO's kernels limited to older instructions, each in a process of its own."""
    command = [sys.executable, __file__, "--child", str(folder), name, str(size), str(rounds)]

    def run(limit: dict[str, str]) -> dict[str, Any]:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **limit})
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    free = run({})
    found = {}
    for one in SETS:
        bound = run({"ONEDNN_MAX_CPU_ISA": one})
        found[one] = {**spread(bound["rounds"]), "gap": gap(bound["margins"], free["margins"])}
    return {"unlimited": spread(free["rounds"]), **found}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Export, compare the engines, and limit the served one."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = export(given.weights, given.originals, folder, given.images)
        size = model["size"]
        found = compare(folder, size, given.rounds)
        names = [_name(precision, True) for precision in PRECISIONS]
        sets = {Path(name).stem: limited(folder, name, size, given.rounds) for name in names}
    return {
        **processor(),
        "load": round(os.getloadavg()[0], 2),
        "versions": versions("openvino", "onnxruntime", "torch", "onnx"),
        "threads": 1,
        "batch": 1,
        "rounds": given.rounds,
        **model,
        "graphs": found,
        "instruction_sets": sets,
    }


def table(found: dict[str, Any]) -> str:
    """Return the result as lines: ms of an image."""
    lines = [f"{'graph':<16} {'openvino':>9} {'onnxruntime':>12} {'times':>6} {'gap':>9}"]
    for name, row in found["graphs"].items():
        ours, other = row["openvino"]["ms"], row["onnxruntime"]["ms"]
        lines.append(f"{name:<16} {ours:>9} {other:>12} {row['times_as_fast']:>6} {row['gap']:>9}")
    for name, sets in found["instruction_sets"].items():
        lines += [f"{name:<16} {limit:<12} {row['ms']:>8} ms {row.get('gap', '')!s:>9}" for limit, row in sets.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a model's .safetensors")
    parser.add_argument("--originals", type=Path, help="full-size images, in the set's layout")
    parser.add_argument("--images", type=int, default=48, help="test images that are measured")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "engines.json")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        folder, name, size, rounds = given.child
        child(Path(folder), name, int(size), int(rounds))
        return
    if given.weights is None or given.originals is None:
        parser.error("name the model (--weights) and the folder of originals (--originals)")
    found = measure(given)
    given.results.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
