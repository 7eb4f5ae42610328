"""Describe the machine and the software that a model was made with, as far as they change numbers."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pneumonia
from pneumonia.records.dossier import BundleFile, Environment

PROJECT = Path(pneumonia.__file__).resolve().parents[1]
LOCK = "requirements.lock"
LOCKS = (LOCK, "requirements-cuda.lock", "deployments/library/requirements.lock", "deployments/library/torch.txt")
"""Files of a checkout that pin the software; an installed package has none of them."""
FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx_vnni", "avx512_vnni", "amx_tile", "asimd", "bf16", "i8mm")
"""Flags of a processor in Linux that choose how sums are rounded."""
COMPUTING = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow", "pydicom", "imagecodecs", "safetensors"),
    *("onnx", "onnxruntime", "openvino", "mlflow", "matplotlib", "pydantic"),
)
"""Packages whose versions may change a number of the dossier."""
_PROCESSOR = Path("/proc/cpuinfo")


def describe_here(computed_with: Sequence[str] = (), *, of_the_model: bool = True) -> Environment:
    """Describe the machine and software of this process.

    Args:
        computed_with: of the training, from the model's record.
        of_the_model: the dossier is built where the model was made.
    """
    commit = pneumonia.git_commit()
    return Environment(
        of="the model's making" if of_the_model else "this page's making",
        python=platform.python_version(),
        platform=platform.platform(terse=True),
        processor=platform.machine(),
        features=_features(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        libraries=_versions(),
        locks=tuple(bundle_file(name, PROJECT / name) for name in LOCKS if (PROJECT / name).is_file()),
        commit=commit and commit.removesuffix("-dirty"),
        clean=_clean(commit),
        computed_with=tuple(computed_with),
    )


def bundle_file(name: str, path: Path) -> BundleFile:
    """Return a file's digest and size under a name.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return BundleFile(path=name, sha256=digest, size=path.stat().st_size)


def _clean(commit: str | None) -> bool | None:
    """Return whether no file differs from the commit; a commit that GIT_COMMIT names cannot say so."""
    if commit is None:
        return None
    if commit.endswith("-dirty"):
        return False
    return None if os.environ.get("GIT_COMMIT") else True


def _features() -> tuple[str, ...]:
    if not _PROCESSOR.is_file():
        return ()
    flags: set[str] = set()
    for line in _PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            flags |= set(line.partition(":")[2].split())
    return tuple(name for name in FEATURES if name in flags)


def _versions() -> dict[str, str]:
    found = {}
    for name in COMPUTING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an optional package; what is not installed has computed nothing
    return found
