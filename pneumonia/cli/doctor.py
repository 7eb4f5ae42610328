"""Check whether this machine can run the pipeline; one line per check, with the remedy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from packaging.requirements import Requirement
from packaging.version import Version

import pneumonia
from pneumonia.cli import prefect_health
from pneumonia.cli.check import Check, Status
from pneumonia.cli.doctor_dvc import examine_dvc
from pneumonia.cli.ui_servers import port_problem
from pneumonia.config.resolve import is_phantom
from pneumonia.config.schema import PHANTOM_ROOT, Config
from pneumonia.credentials import redacted
from pneumonia.data.patient_key import FILE as KEY_FILE
from pneumonia.data.patient_key import VARIABLE, from_environment
from pneumonia.environment import HTTPX_CERTIFICATES, REQUESTS_CERTIFICATES, check_certificates, home, proxy_variables
from pneumonia.errors import DataError, PneumoniaError
from pneumonia.files import is_regular_file
from pneumonia.tracking.client import address, check_store, tracking_uri
from pneumonia.tracking.database import SCHEME, missing_files, roots_elsewhere

PROJECT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"
EACH = ("torch", "torchvision", "mlflow", "prefect", "fastapi")
"""Packages whose versions must match one another; each has its own line."""
NEEDED_EXTRAS, OPTIONAL_EXTRAS = ("", "training"), ("flow", "serving", "versioning")
"""Extras of the project: what the pipeline needs, and what only some commands do."""
NEEDED_DISK, GOOD_DISK = 1, 5  # GiB: packed images 0.3, a training's checkpoint and run 0.3
NEEDED_MEMORY, GOOD_MEMORY = 1.5, 4.0  # GiB: phantoms take about 1, the full training under 3
PORTS = {
    "port 5000": (5000, "pneumonia ui --mlflow-port"),
    "port 4200": (4200, "pneumonia ui --prefect-port"),
    "port 8000": (8000, "pneumonia serve --port"),
}
GIB = 2**30


def examine(config: Config) -> list[Check]:
    """Run all checks; downloads nothing, and creates nothing but the work folder."""
    groups: tuple[Callable[[Config], Iterator[Check]], ...] = (_software, _hardware, _environment, _images, _services)
    return [check for group in groups for check in group(config)]


def _software(config: Config) -> Iterator[Check]:  # noqa: ARG001
    found = platform.python_version()
    fits = sys.version_info[:2] == (3, 11)
    yield Check(name="python", status="ok" if fits else "fail", text=found, remedy="" if fits else "use Python 3.11")
    wanted = _requirements()
    for name in EACH:
        yield _package(name, *wanted[name])
    others = [_package(name, *wanted[name]) for name in sorted(wanted.keys() - set(EACH))]
    bad = [check for check in others if check.status == "fail"]
    yield from bad
    if not bad:
        yield Check(name="other packages", status="ok", text=f"{len(others)} fit pyproject.toml")
    yield _torch_pair()
    yield _lock(PROJECT / LOCK)
    commit = pneumonia.git_commit()
    remedy = "" if commit else "run in a clone, or set GIT_COMMIT, so that runs record the version of the code"
    yield Check(name="git", status="ok" if commit else "warn", text=commit or "no commit is known", remedy=remedy)


def _requirements() -> dict[str, tuple[Requirement, bool]]:
    """Return the requirements of pyproject.toml, without development tools, and whether each may be missing."""
    wanted: dict[str, tuple[Requirement, bool]] = {}
    for requirement in map(Requirement, importlib.metadata.requires("pneumonia") or []):
        if _asked_for(requirement, *NEEDED_EXTRAS):
            wanted[requirement.name] = (requirement, False)
        elif _asked_for(requirement, *OPTIONAL_EXTRAS):
            wanted.setdefault(requirement.name, (requirement, True))
    return wanted


def _asked_for(requirement: Requirement, *extras: str) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _package(name: str, requirement: Requirement, optional: bool) -> Check:
    wanted = str(requirement.specifier)
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        status: Status = "warn" if optional else "fail"
        return Check(name=name, status=status, text="not installed", remedy=f"pip install '{name}{wanted}'")
    if requirement.specifier.contains(found, prereleases=True):
        return Check(name=name, status="ok", text=found)
    return Check(name=name, status="fail", text=f"{found} does not fit", remedy=f"pip install '{name}{wanted}'")


def _torch_pair() -> Check:
    """Check whether torchvision is of torch's release, and can be imported."""
    import torch

    name, found = "torch with torchvision", torch.__version__
    asked = [Requirement(line) for line in importlib.metadata.requires("torchvision") or []]
    pair = next((requirement for requirement in asked if requirement.name == "torch"), None)
    if pair is not None and not pair.specifier.contains(Version(found).public):
        remedy = "install the pair that pyproject.toml names: make install"
        return Check(
            name=name, status="fail", text=f"torchvision wants torch{pair.specifier}, not {found}", remedy=remedy
        )
    from pneumonia.modelling._torchvision import _declared, models

    try:
        models()
    except (ImportError, RuntimeError) as error:
        text = f"torchvision cannot be imported ({str(error).splitlines()[0]})"
        return Check(name=name, status="fail", text=text, remedy="install both again: make install")
    patched = "; torchvision's compiled operators are of another build, and not needed" if _declared else ""
    return Check(name=name, status="ok", text=f"they fit{patched}")


def _lock(path: Path) -> Check:
    if not path.is_file():
        return Check(name=LOCK, status="ok", text="not found, so there is nothing to compare with")
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==([^ \\;\n]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    other = [f"{name} {found} for {pin}" for name, pin in pins if (found := _installed(name)) not in (None, pin)]
    if not other:
        return Check(name=LOCK, status="ok", text=f"nothing installed differs from its {len(pins)} versions")
    shown = ", ".join(other[:5]) + (f" and {len(other) - 5} more" if len(other) > 5 else "")
    remedy = "results were checked with the locked versions: make install"
    return Check(name=LOCK, status="warn", text=f"installed is {shown}", remedy=remedy)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _hardware(config: Config) -> Iterator[Check]:
    import torch

    from pneumonia.config.schema import TrainConfig
    from pneumonia.modelling.device import Compute

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check(name="cores", status="ok", text=f"{cores}, of which torch uses {torch.get_num_threads()}")
    native = Compute.of(TrainConfig(device="cpu")).precision == "bf16"
    slow = "" if native else "nothing to do; training takes about twice as long in fp32"
    yield Check(name="bf16", status="ok" if native else "warn", text="native" if native else "none", remedy=slow)
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none; the CPU is used"
    yield Check(name="cuda", status="ok", text=cuda)
    yield _disk(Path(config.work))
    yield from _patient_key(Path(config.work) / KEY_FILE)
    yield _memory()


def _disk(work: Path) -> Check:
    try:
        work.mkdir(parents=True, exist_ok=True)
        writable = os.access(work, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        remedy = "make it writable, or choose another: --set work=DIR"
        return Check(name="work folder", status="fail", text=f"{work} cannot be written", remedy=remedy)
    free = shutil.disk_usage(work).free / GIB
    status = _grade(free, NEEDED_DISK, GOOD_DISK)
    remedy = "" if status == "ok" else f"free space, {GOOD_DISK} GiB are comfortable, or --set work=DIR"
    return Check(name="work folder", status=status, text=f"{work}: {free:.1f} GiB free", remedy=remedy)


def _patient_key(path: Path) -> Iterator[Check]:
    """Report on the key of the patients' pseudonyms, where there is one."""
    try:
        if from_environment(path) is not None:
            yield Check(name="patient key", status="ok", text=f"{VARIABLE}: keep it; a new one renames every patient")
    except DataError as error:
        what, _, remedy = str(error).partition("; ")
        yield Check(name="patient key", status="fail", text=what, remedy=remedy or "make it readable")
        return
    if not path.exists():
        return
    if path.stat().st_mode & 0o077:
        yield Check(name="patient key", status="warn", text=f"{path}: others may read it", remedy=f"chmod 600 {path}")
        return
    text = f"{path}: back it up with the work folder, apart from the images; a new one renames every patient"
    yield Check(name="patient key", status="ok", text=text)


def _memory() -> Check:
    free = psutil.virtual_memory().available
    limit = Path("/sys/fs/cgroup/memory.max")  # the container's limit, which psutil does not see
    if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
        free = min(free, int(text))
    status = _grade(free / GIB, NEEDED_MEMORY, GOOD_MEMORY)
    remedy = "" if status == "ok" else "end other programs; the full training takes up to 3 GiB"
    return Check(name="memory", status=status, text=f"{free / GIB:.1f} GiB available", remedy=remedy)


def _environment(config: Config) -> Iterator[Check]:  # noqa: ARG001
    """Report on what the machine's administrators have set: the home folder, temporary files, certificates, proxies."""
    yield _folder("home", home(), "make it writable, or set HOME, TORCH_HOME and MPLCONFIGDIR to folders that are")
    try:
        yield _folder("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder that can be written")
    except FileNotFoundError:
        remedy = "set TMPDIR to a folder that can be written"
        yield Check(name="temporary files", status="fail", text="no folder can be written", remedy=remedy)
    try:
        check_certificates((*REQUESTS_CERTIFICATES, *HTTPX_CERTIFICATES))
        yield Check(name="certificates", status="ok", text="those that are named can be read")
    except PneumoniaError as error:
        yield Check(name="certificates", status="fail", text=str(error))
    names = proxy_variables("http", "https")
    past = f"{names}; past them: {os.environ.get('NO_PROXY', '')}" if names else "none"
    yield Check(name="proxy", status="ok", text=past)


def _folder(name: str, folder: Path, remedy: str) -> Check:
    there = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    text = str(folder) if there else f"{folder} cannot be written"
    return Check(name=name, status="ok" if there else "warn", text=text, remedy="" if there else remedy)


def _grade(value: float, needed: float, good: float) -> Status:
    return "fail" if value < needed else "warn" if value < good else "ok"


def _images(config: Config) -> Iterator[Check]:
    yield _data(config)
    yield from examine_dvc(Path())
    yield _weights(config)


def _data(config: Config) -> Check:
    root = config.data.root
    if root == PHANTOM_ROOT:
        remedy = "for real radiographs: pneumonia data fetch, or dvc pull"
        return Check(name="data", status="warn", text="no data/chest_xray, so phantoms are drawn", remedy=remedy)
    from pneumonia.data.layout import summarise, survey

    try:
        found = survey(Path(root))
    except PneumoniaError as error:
        return Check(name="data", status="fail", text=str(error), remedy="correct data.root, or pneumonia data fetch")
    kind = "phantoms" if is_phantom(root) else "images"
    words = f"; {summarise(found.passed_over)}" if found.passed_over else ""
    return Check(name="data", status="ok", text=f"{root}: {len(found.images)} {kind}{words}")


def _weights(config: Config) -> Check:
    weights, name = config.model.weights, "initial weights"
    phantom = is_phantom(config.data.root)
    if weights == "none" or (weights == "auto" and phantom):
        return Check(name=name, status="ok", text="none are needed, training starts at random")
    if weights not in ("auto", "imagenet"):
        there = is_regular_file(weights)
        remedy = "" if there else "correct model.weights: imagenet, none or a file"
        return Check(
            name=name,
            status="ok" if there else "fail",
            text=weights if there else f"{weights}: no such file",
            remedy=remedy,
        )
    import torch

    from pneumonia.modelling._torchvision import models

    url = models().ResNet18_Weights.IMAGENET1K_V1.url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if cached.is_file():
        return Check(name=name, status="ok", text=str(cached))
    remedy = f"the first training downloads {url}; without a network put it there, or --weights FILE or none"
    return Check(name=name, status="warn", text=f"{cached} is not there yet", remedy=remedy)


def _services(config: Config) -> Iterator[Check]:
    uri = tracking_uri(config)
    try:
        check_store(uri)
        yield _tracking(address(uri))
    except PneumoniaError as error:
        yield Check(name="tracking", status="fail", text=str(error))
    if _installed("prefect") is not None:
        try:
            yield Check(name="flow server", status="ok", text=prefect_health.check_environment())
        except PneumoniaError as error:
            yield Check(name="flow server", status="fail", text=str(error))
    for name, (port, option) in PORTS.items():
        problem = port_problem(port)
        remedy = f"{option} PORT takes another" if problem else ""
        yield Check(name=name, status="warn" if problem else "ok", text=problem or "free", remedy=remedy)


def _tracking(uri: str) -> Check:
    """Check that the files of a database that can be used are where it seeks them."""
    roots = roots_elsewhere(uri) if uri.startswith(SCHEME) else []
    missing = next(filter(None, (missing_files(root, uri) for root in roots if root.endswith("/artifacts"))), None)
    if missing:
        return Check(name="tracking", status="fail", text=f"{redacted(uri)}: {missing}")
    return Check(name="tracking", status="ok", text=redacted(uri))
