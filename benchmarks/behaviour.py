"""Record what the pipeline computes, through its commands and files only, and compare two such records.

A refactoring may not change a result. Run this on the commit before and on the one after:

    python benchmarks/behaviour.py record before.json --repository OLD --originals DIR --weights FILE
    python benchmarks/behaviour.py record after.json --originals DIR --weights FILE
    python benchmarks/behaviour.py compare before.json after.json

It does not import the library, so that one script measures both. Digests and decisions must be equal, scores equal
within 1e-5; every other difference is listed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TOLERANCE = 1e-5  # of scores and metrics; digests and decisions have none
COMMON = ("train.epochs=2", "train.threads=2", "tracking.system_metrics=false", "train.seed=3")
PHANTOMS = ("data.root=phantom", "phantom.train=240", "phantom.test=80", "phantom.size=96", "preprocess.size=64")
ORIGINALS = ("data.patient_fraction=1", "preprocess.size=96", "train.batch_size=32")
PLAIN = ("train.precision=fp32",)
MEASURED = ("seconds", "images_per_second", "data_wait")  # by the clock
SETS = {
    "phantoms, fast": ("fast", PHANTOMS),
    "phantoms, full": ("full", PHANTOMS),
    "originals, fast": ("fast", ORIGINALS),
    "originals, full, fp32": ("full", (*ORIGINALS, *PLAIN, "data.validation_fraction=0.3")),
}


def record(repository: Path, originals: Path | None, weights: Path | None) -> dict[str, Any]:
    """Run the pipeline, `predict` and `evaluate` on each set, and return the results by set."""
    found = {}
    for name, (profile, settings) in SETS.items():
        if name.startswith("originals") and originals is None:
            print(f"{name}: left out, no --originals", file=sys.stderr)
            continue
        print(name, file=sys.stderr, flush=True)
        data = [] if originals is None or name.startswith("phantoms") else [f"data.root={originals}"]
        start = [f"model.weights={weights}"] if data and weights else ["model.weights=none"]
        with tempfile.TemporaryDirectory() as work:
            found[name] = _record(repository, Path(work), profile, [*COMMON, *settings, *data, *start])
    return found


def _record(repository: Path, work: Path, profile: str, settings: list[str]) -> dict[str, Any]:
    chosen = [argument for setting in (*settings, f"work={work}") for argument in ("--set", setting)]
    _run(repository, work, [sys.executable, "flows/pipeline.py", "--profile", profile, *chosen])
    (trained,) = work.glob("training/**/trained.json")
    model = trained.parent / "model.safetensors"
    trained_, verdict = (
        json.loads(trained.read_text()),
        json.loads((trained.parent / "report/verdict.json").read_text()),
    )
    model_record = _header(model)
    root = next(
        (arg.partition("=")[2] for arg in settings if arg.startswith("data.root=") and "phantom" not in arg), ""
    )
    test = (Path(root) if root else next(work.glob("phantoms/**/test"))) / ("test" if root else "")
    files = sorted(path for path in test.rglob("*") if path.suffix in (".jpeg", ".png"))
    predicted = _json(repository, work, "predict", "--model", str(model), *map(str, files), *chosen)
    evaluated = _json(repository, work, "evaluate", "--model", str(model), str(test), *chosen)
    return {
        "digests": {
            "data": model_record["data_digest"],
            "split": model_record["split_digest"],
            "pixels": _pixels(work),
            "weights": trained_["weights_digest"],
        },
        "decisions": {
            "passed": verdict["passed"],
            "reasons": {reason["name"]: reason["passed"] for reason in verdict["reasons"]},
            "predict": {Path(one["file"]).name: one.get("decision", "refused") for one in predicted},
        },
        "scores": {
            "threshold": model_record["threshold"],
            "verdict": _numbers(verdict.get("metrics") or verdict["figures"]),
            "epochs": [_numbers({k: v for k, v in epoch.items() if k not in MEASURED}) for epoch in trained_["epochs"]],
            "test": _scores(trained.parent / "report/scores.csv"),
            "predict": {Path(one["file"]).name: one.get("probability") for one in predicted},
            "evaluate": _numbers({k: v for k, v in evaluated.items() if k not in ("model", "version", "assessment")}),
        },
    }


def _run(repository: Path, work: Path, command: list[str], *, ok: tuple[int, ...] = (0,)) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PNEUMONIA_", "MLFLOW_"))}
    clean |= {"PREFECT_HOME": str(work / "prefect"), "PYTHONPATH": str(repository)}
    done = subprocess.run(command, cwd=repository, env=clean, capture_output=True, text=True, check=False)
    if done.returncode not in ok:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-4000:]}")
    return done.stdout


def _json(repository: Path, work: Path, *arguments: str) -> Any:
    return json.loads(_run(repository, work, [sys.executable, "-m", "pneumonia", *arguments, "--json"]))


def _header(path: Path) -> dict[str, Any]:
    """Read the record in a safetensors file: eight bytes of length, then JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        found: dict[str, Any] = json.loads(json.loads(file.read(length))["__metadata__"]["record"])
    return found


def _pixels(work: Path) -> str:
    """Return the digest of the packed images: the uint8 array of three dimensions, under any file name."""
    arrays = [
        path
        for path in sorted(work.glob("pixels/**/*.npy"))
        if re.search(rb"'\|u1'.*\(\d+, \d+, \d+\)", path.read_bytes()[:200])
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in arrays)).hexdigest()


def _scores(path: Path) -> dict[str, float]:
    with path.open(newline="") as file:
        return {row["path"]: float(row["probability"]) for row in csv.DictReader(file)}


def _numbers(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _numbers(value) for key, value in tree.items() if not isinstance(value, str | list)}
    return tree


def differences(before: Any, after: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Return the leaves that are not equal, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [found for key in keys for found in differences(before.get(key), after.get(key), f"{path}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            found
            for at, pair in enumerate(zip(before, after, strict=True))
            for found in differences(*pair, f"{path}/{at}")
        ]
    return [] if before == after else [(path, before, after)]


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print a line per set and every difference above the tolerance; return 1 where there is one."""
    failed = 0
    for name in before:
        found = differences(before[name], after.get(name))
        numbers = [
            (path, a, b)
            for path, a, b in found
            if isinstance(a, float | int) and isinstance(b, float | int) and "/scores" in path
        ]
        largest = max((abs(a - b) for _, a, b in numbers), default=0.0)
        hard = [one for one in found if one not in numbers] + [
            one for one in numbers if abs(one[1] - one[2]) > TOLERANCE
        ]
        print(f"{name}: {'equal' if not found else f'{len(found)} values differ, scores by {largest:.1e} at most'}")
        for path, a, b in hard[:40]:
            print(f"  {path}: {str(a)[:16]} -> {str(b)[:16]}")
        failed += bool(hard)
    return int(failed > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("record", help="run everything and write a JSON file")
    one.add_argument("out", type=Path)
    one.add_argument("--repository", type=Path, default=Path(__file__).parents[1])
    one.add_argument("--originals", type=Path, help="a folder with train/ and test/")
    one.add_argument("--weights", type=Path, help="initial weights for the originals")
    two = commands.add_parser("compare", help="exit 1 where a digest, a decision or a score differs")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "compare":
        sys.exit(compare(json.loads(given.before.read_text()), json.loads(given.after.read_text())))
    originals = given.originals.resolve() if given.originals else None
    weights = given.weights.resolve() if given.weights else None
    found = record(given.repository.resolve(), originals, weights)
    given.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
