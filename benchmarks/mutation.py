"""Show that the tests notice a fault: change one operator or number at a time, and see whether a test fails.

python benchmarks/mutation.py [--modules gate split …] [--sample 30] [--jobs 2] [--json]

Mutants are made by cosmic-ray (in an environment of its own, through uv) in copies of the committed tree; each is tried
by the tests of its module alone. From all mutants of a module a sample is drawn, always the same. A mutant is killed
when a test fails or runs out of time. Survivors are listed with the line as it was changed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COSMIC_RAY = [
    Path(sys.executable).with_name("uv"),
    "--no-config",
    "tool",
    "run",
    "--from",
    "cosmic-ray==8.7.0",
    "cosmic-ray",
]
MODULES = {
    "gate": ("pneumonia/evaluation/gate.py", "tests/evaluation/test_gate.py"),
    "split": ("pneumonia/data/split.py", "tests/data/test_split.py"),
    "bootstrap": (
        "pneumonia/statistics/bootstrap.py",
        "tests/statistics/test_metrics.py tests/statistics/test_bootstrap.py",
    ),
    "comparison": ("pneumonia/statistics/comparison.py", "tests/statistics/test_comparison.py"),
    "registry: models": ("pneumonia/registry/models.py", "tests/registry/test_models.py tests/registry/test_moves.py"),
    "registry: moves": ("pneumonia/registry/moves.py", "tests/registry/test_moves.py"),
    "decoder: dicom": ("pneumonia/imaging/dicom.py", "tests/imaging"),
    "decoder: dicom file": ("pneumonia/imaging/dicom_file.py", "tests/imaging"),
    "decoder: dicom pixels": ("pneumonia/imaging/dicom_pixels.py", "tests/imaging"),
    "decoder: grayscale": ("pneumonia/imaging/grayscale.py", "tests/imaging"),
    "decoder: lookup table": ("pneumonia/imaging/lookup_table.py", "tests/imaging"),
    "decoder: raster": ("pneumonia/imaging/raster.py", "tests/imaging"),
}
# what no test can see: types, which are not evaluated, and the text of decorators
LEFT_OUT = ("core/ReplaceBinaryOperator_BitOr_",)
SECONDS = 120.0


def run(name: str, sample: int) -> dict[str, Any]:
    """Try a module's mutants in a copy of the committed tree."""
    module, tests = MODULES[name]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", copy], input=archive, check=True)
        command = f"{sys.executable} -m pytest -x -q -m 'not integration and not nightly' {tests}"
        (copy / "mutation.toml").write_text(
            f'[cosmic-ray]\nmodule-path = "{module}"\ntimeout = {SECONDS}\nexcluded-modules = []\n'
            f'test-command = "{command}"\n[cosmic-ray.distributor]\nname = "local"\n'
        )
        _cosmic_ray(copy, "init", "mutation.toml", "session.sqlite")
        total = _draw(copy / "session.sqlite", sample)
        _cosmic_ray(copy, "baseline", "mutation.toml")
        _cosmic_ray(copy, "exec", "mutation.toml", "session.sqlite")
        return {"module": module, "tests": tests, "mutants": total, **_results(copy / "session.sqlite")}


def _cosmic_ray(copy: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*COSMIC_RAY, *arguments], cwd=copy, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"cosmic-ray {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _draw(session: Path, sample: int) -> int:
    """Keep a sample of the mutants, and say how many there were."""
    with sqlite3.connect(session) as database:
        found = database.execute(
            "SELECT job_id, operator_name, start_pos_row, start_pos_col, occurrence FROM mutation_specs"
        ).fetchall()
        found = sorted(row for row in found if not row[1].startswith(LEFT_OUT))
        # by what they are: a job's id is another one each time
        found.sort(key=lambda row: row[1:])
        kept = {row[0] for row in random.Random(0).sample(found, min(sample, len(found)))}
        for table in ("mutation_specs", "work_items"):
            names = [(row[0],) for row in database.execute(f"SELECT job_id FROM {table}") if row[0] not in kept]  # noqa: S608
            database.executemany(f"DELETE FROM {table} WHERE job_id = ?", names)  # noqa: S608
    return len(found)


def _results(session: Path) -> dict[str, Any]:
    with sqlite3.connect(session) as database:
        rows = database.execute(
            "SELECT operator_name, start_pos_row, test_outcome, worker_outcome, diff FROM mutation_specs "
            "JOIN work_results USING (job_id)"
        ).fetchall()
    survivors = [
        {"line": line, "operator": operator.removeprefix("core/"), "change": _changed(diff)}
        for operator, line, test, worker, diff in rows
        if "SURVIVED" in str(test) and "NORMAL" in str(worker)
    ]
    return {"tried": len(rows), "killed": len(rows) - len(survivors), "survivors": survivors}


def _changed(diff: str) -> list[str]:
    return [line for line in (diff or "").splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", nargs="+", default=list(MODULES), choices=MODULES, metavar="MODULE")
    parser.add_argument("--sample", type=int, default=30, help="mutants a module")
    parser.add_argument("--jobs", type=int, default=2, help="modules at once")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    with ThreadPoolExecutor(given.jobs) as pool:
        found = dict(zip(given.modules, pool.map(lambda name: run(name, given.sample), given.modules), strict=True))
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, row in found.items():
        print(f"{name:<16} {row['killed']}/{row['tried']} killed, of {row['mutants']} mutants")
        for survivor in row["survivors"]:
            print(f"  {row['module']}:{survivor['line']} {survivor['operator']}", *survivor["change"], sep="\n    ")


if __name__ == "__main__":
    main()
