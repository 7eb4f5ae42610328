"""Say what processor a benchmark ran on: speeds mean little without it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx_vnni", "avx512_vnni", "amx_tile")
AVX2_IMITATED = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Environment of a process whose torch, oneDNN and MKL are kept from more than AVX2; set before torch is loaded."""


def processor() -> dict[str, Any]:
    """Return the cores that this process has, and what they can do that matters to training and to inference."""
    flags: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):
            flags |= set(line.partition(":")[2].split())
    cores = len(os.sched_getaffinity(0))
    return {"machine": platform.machine(), "cores": cores, "features": [one for one in FEATURES if one in flags]}


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages, name to version, without a build's local part."""
    return {name: version(name).partition("+")[0] for name in packages}
