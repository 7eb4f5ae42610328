"""Measure the service against others that serve the same model: requests a second over HTTP, on full-size radiographs.

python benchmarks/serving.py --weights FILE.safetensors --export DIR --originals DIR [--peers PYTHON] [--rounds N]
    [--seconds S] [--only NAME …] [--results FILE]

DIR of --export holds the same weights' export, `champions/NAME/DIGEST` of a work folder. The peers
(`benchmarks/peers`) are installed into a temporary environment, unless --peers names the Python of one that has them.
Each server is started in each round, one after the other, so that other load on the machine affects all; server and
load generator share the cores. `per_second` is the median over rounds of the answers a second to eight connections
that ask again at once; `bare` is decoding and computing alone, in as many processes as there are cores, in the same
rounds; `threads` the same in one process, as the service does it. `older` repeats the comparison with kernels that are
limited to AVX2. Rates need a machine that does nothing else: `load` says how busy it was before; the processor time of
an answer (`cpu_ms_an_answer`, `bare_cpu_ms`) depends less on that.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import servers
from benchmarks.processor import processor, versions
from benchmarks.servers import Running, Server, running
from benchmarks.serving_aims import aims, table
from pneumonia.config.service import ServingConfig
from pneumonia.data.layout import find_files

FILES = 48
"""Radiographs that are sent in turns: every so-many-th of the test folder."""
COMPARED = 16
"""Radiographs of which the servers' answers are compared."""
CONNECTIONS, MANY = 8, 64
"""Connections that find the capacity, and that offer more than it."""
OVERLOAD = 3
HERE = Path(__file__).resolve().parent


def bare(export: Path, files: list[Path], seconds: float, threads: int, older: bool) -> tuple[float, float]:
    """Decode and compute alone, in processes of one thread, or in one of several.

    Returns:
        Images a second, and the processor time of an image, ms.
    """
    processes = 1 if threads > 1 else len(os.sched_getaffinity(0))
    command = [sys.executable, __file__, "--child", str(export), str(seconds), str(threads), *map(str, files)]
    environment = {**os.environ, **(servers.OLDER_OPENVINO if older else {})}
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(processes)]
    rates, costs = zip(*(map(float, process.communicate()[0].split()) for process in started), strict=True)
    return sum(rates), sum(costs) / len(costs)


def child(export: str, seconds: str, threads: str, *names: str) -> None:
    """Decode and compute until the time is over; print the images a second, and the processor time of one, ms."""
    from pneumonia.imaging.radiograph import read_bytes
    from pneumonia.inference.served_model import ServedModel

    config = ServingConfig(threads=int(threads), check_input=False)
    model = ServedModel(Path(export), "bare", "1", config)
    contents = [Path(name).read_bytes() for name in names]

    def work(until: float) -> int:
        done = 0
        while time.perf_counter() < until:
            model.run(read_bytes(contents[done % len(contents)], model.record.preprocess).pixels)
            done += 1
        return done

    with ThreadPoolExecutor(config.threads) as pool:
        list(pool.map(work, [time.perf_counter() + 0.5] * config.threads))  # warms up
        began, used = time.perf_counter(), time.process_time()
        done = sum(pool.map(work, [began + float(seconds)] * config.threads))
        print(done / (time.perf_counter() - began), 1000 * (time.process_time() - used) / max(1, done))


class Bench:
    """What is measured: the servers, and the radiographs that they are sent.

    Attributes:
        place: a folder for what is written.
        files: radiographs.
        seconds: of each measurement.
    """

    def __init__(self, place: Path, files: list[Path], seconds: float) -> None:
        self.place, self.files, self.seconds = place, files, seconds
        self.contents = [path.read_bytes() for path in files]

    def load(self, server: Server, ports: list[int], *options: str) -> dict[str, Any]:
        """Send requests from a second process and return what it reports."""
        folder = self.place / "requests"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for number, content in enumerate(self.contents):
            (folder / f"{number:04}").write_bytes(servers.wire(ports[0], server.request(content)))
        command = [sys.executable, str(HERE / "load_generator.py"), str(folder), *map(str, ports)]
        command += ["--seconds", str(self.seconds), *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def peak(self, name: str, server: Server, older: bool) -> dict[str, Any]:
        """Start a server and measure what it answers to connections that ask again at once."""
        with running(server, self.place / f"{name}.log", older=older) as started:
            answers = self.answers(server, started.port)
            before, began = started.cpu_seconds(), time.perf_counter()
            found = self.load(server, [started.port], "--connections", str(CONNECTIONS), "--warm", "1.5")
            used, seconds = started.cpu_seconds() - before, time.perf_counter() - began
            return {
                **found,
                "server_cores": round(used / seconds, 2),
                "cpu_ms_an_answer": round(1000 * used / max(1, found["answered_in_all"]), 2),
                "ready_seconds": round(started.ready_seconds, 2),
                "memory": started.memory(),
                "answers": answers,
            }

    def answers(self, server: Server, port: int) -> list[float]:
        """Return the probabilities of some files, asked one after the other."""
        return [servers.probability(port, server.request(content)) for content in self.contents[:COMPARED]]

    def stress(self, server: Server, peak: float) -> dict[str, Any]:
        """Measure the service at half of its peak, and at more than it can answer."""
        with running(server, self.place / "stress.log") as started:
            ports = [started.port]
            half = self.load(server, ports, "--rate", f"{peak / 2:.2f}", "--connections", str(MANY))
            over = self.load(server, ports, "--rate", f"{OVERLOAD * peak:.2f}", "--connections", str(MANY))
            memory = started.memory()
            wrk = self.wrk(server, started) if shutil.which("wrk") else None
        return {"half_load": half, "overload": over, "memory_after": memory, "wrk": wrk}

    def wrk(self, server: Server, started: Running) -> dict[str, float]:
        """Return what `wrk` finds with one file, as a check of the load generator."""
        body = self.place / "body"
        body.write_bytes(self.contents[0])
        path, kind, _ = server.request(b"")
        script = self.place / "post.lua"
        script.write_text(
            f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{kind}"\n'
            f'wrk.body = io.open("{body}", "rb"):read("*a")\n'
        )
        url = f"http://127.0.0.1:{started.port}{path}"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{int(self.seconds)}s", "-s", str(script), url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rate = float(said.partition("Requests/sec:")[2].split()[0])
        folder = self.place / "one"
        folder.mkdir(exist_ok=True)
        one = Bench(folder, self.files[:1], self.seconds)
        again = one.load(server, [started.port], "--connections", str(CONNECTIONS))
        return {"wrk_per_second": rate, "generator_per_second": again["per_second"]}

    def several(self, work: Path, cores: int) -> float:
        """Return the answers a second of one service process a core, each with one thread."""
        server = servers.ours(work, "serving.threads=1")
        with ExitStack() as stack:
            started = [stack.enter_context(running(server, self.place / f"{at}.log")) for at in range(cores)]
            ports = [each.port for each in started]
            found = self.load(server, ports, "--connections", str(CONNECTIONS), "--warm", "1.5")
        return float(found["per_second"])


def rounds(bench: Bench, compared: dict[str, Server], export: Path, count: int, older: bool) -> dict[str, Any]:
    """Measure all servers, in turns, and decoding and computing alone beside them."""
    cores = len(os.sched_getaffinity(0))
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in compared}
    alone: dict[str, list[tuple[float, float]]] = {"bare": [], "threads": []}
    for number in range(count):
        for name, server in compared.items():
            taken[name].append(found := bench.peak(name, server, older))
            print(
                f"round {number + 1} {'AVX2 ' if older else ''}{name}: {found['per_second']}",
                file=sys.stderr,
                flush=True,
            )
        alone["bare"].append(bare(export, bench.files, bench.seconds, 1, older))
        alone["threads"].append(bare(export, bench.files, bench.seconds, cores, older))
    found = {name: round(median(rate for rate, _ in runs), 1) for name, runs in alone.items()}
    found["bare_cpu_ms"] = round(median(cost for _, cost in alone["bare"]), 2)
    reference = taken["pneumonia"][0]["answers"]
    return found | {"servers": {name: summary(compared[name], runs, reference) for name, runs in taken.items()}}


def summary(server: Server, runs: list[dict[str, Any]], reference: list[float]) -> dict[str, Any]:
    """Return the median over a server's rounds, and how far its answers are from this project's."""
    rates = [run["per_second"] for run in runs]
    gaps = [abs(a - b) for a, b in zip(runs[0]["answers"], reference, strict=True)]
    chosen = sorted(runs, key=lambda run: run["per_second"])[len(runs) // 2]
    return {
        "what": server.what,
        "per_second": median(rates),
        "rounds": rates,
        "ms": chosen["ms_200"],
        "statuses": chosen["statuses"],
        "server_cores": chosen["server_cores"],
        "cpu_ms_an_answer": chosen["cpu_ms_an_answer"],
        "generator_cpu_share": chosen["generator_cpu_share"],
        "ready_seconds": median(run["ready_seconds"] for run in runs),
        "memory": chosen["memory"],
        "median_gap_of_probability": round(median(gaps), 4),
    }


def environment(place: Path) -> Path:
    """Install the peers into an environment of their own and return its Python."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    python = place / "peers" / "bin" / "python"
    links = ["--find-links", found] if (found := os.environ.get("PIP_FIND_LINKS")) else []
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(place / "peers")], check=True)
    wanted = ["-r", str(servers.PEERS / "requirements.txt")]
    subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *links, *wanted], check=True)
    return python


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run everything, and hold it against the aims."""
    cores = len(os.sched_getaffinity(0))
    load = round(os.getloadavg()[0], 2)
    files = [path for path in find_files(given.originals) if "test" in path.relative_to(given.originals).parts]
    files = files[:: max(1, len(files) // FILES)][:FILES]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        work = place / "work"
        servers.write_mirror(given.export, work)
        python = given.peers or environment(place)
        compared = {"pneumonia": servers.ours(work), **servers.peers(python, given.weights, place, cores)}
        compared = {name: server for name, server in compared.items() if name in {"pneumonia", *given.only}}
        bench = Bench(place, files, given.seconds)
        found = rounds(bench, compared, given.export, given.rounds, older=False)
        peak = found["servers"]["pneumonia"]["per_second"]
        found |= bench.stress(compared["pneumonia"], peak)
        found["several_processes"] = bench.several(work, cores)
        found["older"] = rounds(bench, compared, given.export, given.older_rounds, older=True)
        installed = subprocess.run([python, "-c", PRINT_VERSIONS], stdout=subprocess.PIPE, check=True)
    result = {
        **processor(),
        "load": load,
        "files": len(files),
        "mean_kilobytes": round(sum(path.stat().st_size for path in files) / len(files) / 1000, 1),
        "connections": CONNECTIONS,
        "seconds": given.seconds,
        "versions": versions("openvino", "fastapi", "starlette", "uvicorn", "pillow"),
        "peers": json.loads(installed.stdout),
        **found,
    }
    return result | {"aims": aims(result)}


PRINT_VERSIONS = """
import json
from importlib.metadata import version
names = ("torch", "fastapi", "starlette", "uvicorn", "pillow", "mlflow", "litserve", "bentoml")
print(json.dumps({name: version(name) for name in names}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a model's .safetensors")
    parser.add_argument("--export", type=Path, help="folder of their export")
    parser.add_argument("--originals", type=Path, help="full-size images, in the set's layout")
    parser.add_argument("--peers", type=Path, help="Python of an environment with benchmarks/peers/requirements.txt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--older-rounds", type=int, default=2, help="rounds with kernels limited to AVX2")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    names = ["fastapi", "mlflow", "litserve", "bentoml"]
    parser.add_argument("--only", nargs="+", default=names, choices=names, help="peers to compare with")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "serving.json")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    if not (given.weights and given.export and given.originals):
        parser.error("name the model (--weights, --export) and the folder of originals (--originals)")
    found = measure(given)
    given.results.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
