"""Compare the pipeline's steps of profile `fast` with an earlier revision's, in turns, on one imitated slow core.

python benchmarks/fast.py --before REVISION --data DIR --weights FILE [--rounds N] [--native]

Each run is `benchmarks/profiles.py` of its own revision, with an empty work folder, in float32 with one thread, kept
from AVX-512 as in `benchmarks/step.py` unless `--native`. The processor's seconds are compared, imports included,
so that other load on the machine does not count. The orchestrator is left out.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from processor import AVX2_IMITATED, processor, versions

ONE = {"OMP_NUM_THREADS": "1"}
SETTINGS = ("train.threads=1", "train.precision=fp32", "data.workers=1")


def run(place: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run the steps of the revision in a folder."""
    command = [sys.executable, "benchmarks/profiles.py", "--profile", "fast", "--json"]
    command += ["--data", str(given.data.resolve()), "--weights", str(given.weights.resolve())]
    command += [word for setting in SETTINGS for word in ("--set", setting)]
    environment = {**os.environ, **ONE, **({} if given.native else AVX2_IMITATED), "PYTHONPATH": str(place)}
    before = _children()
    done = subprocess.run(command, cwd=place, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    kept = ("seconds", "processor_seconds", "where", "weights_digest", "metrics")
    return {"with_imports": round(_children() - before, 1), **{name: found[name] for name in kept if name in found}}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="revision to compare with")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--native", action="store_true", help="use all that the processor has, in float32")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "fast_before_after.json")
    given = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", given.before], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(folder, filter="data")
        for number in range(given.rounds):
            for name, place in list({"before": Path(folder), "after": ROOT}.items())[:: -1 if number % 2 else 1]:
                runs[name].append(run(place, given))
                print(f"{name}: {runs[name][-1]}", file=sys.stderr, flush=True)
    totals = {name: median(each["with_imports"] for each in found) for name, found in runs.items()}
    result = {
        **processor(),
        "imitated": None if given.native else "AVX2",
        "load": round(os.getloadavg()[0], 1),
        "versions": versions("torch", "openvino", "onnxruntime"),
        "settings": SETTINGS,
        "before": given.before,
        "processor_seconds": totals,
        "share": round(totals["after"] / totals["before"], 3),
        "runs": runs,
    }
    given.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: result[name] for name in ("processor_seconds", "share")}))


if __name__ == "__main__":
    main()
