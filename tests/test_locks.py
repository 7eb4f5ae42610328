"""The locks are complete: what their packages require is in them, for each kind of machine, in each build of torch."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
MACHINES = {
    "linux-x86_64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "linux-aarch64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "macos-arm64": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}
PYTHON = {"python_version": "3.11", "python_full_version": "3.11.9", "implementation_name": "cpython"}


@dataclass(frozen=True)
class Locked:
    version: str
    marker: Marker | None
    hashes: frozenset[str]

    def applies(self, machine: dict[str, str]) -> bool:
        return self.marker is None or self.marker.evaluate(machine)


def locked(name: str) -> dict[str, Locked]:
    """Read a lock; every entry has hashes. What is for another Python than the project's is left out."""
    found = {}
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)
    for entry in entries[1:]:
        head, *hashes = entry.split(" \\\n")
        requirement = Requirement(head)
        digests = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", " ".join(hashes)))
        assert digests, f"{name}: {head} has no hash"
        if requirement.marker and not any(requirement.marker.evaluate(environment(machine)) for machine in MACHINES):
            continue
        version = str(requirement.specifier).removeprefix("==")
        found[requirement.name] = Locked(version, requirement.marker, digests)
    assert len(found) > 30
    return found


def environment(machine: str, extra: str = "") -> dict[str, str]:
    return {**PYTHON, **MACHINES[machine], "extra": extra}


def missing(required: list[Requirement], lock: dict[str, Locked], machine: str, by: str) -> list[str]:
    """Return those of the requirements that `lock` does not fulfil on a machine."""
    found = []
    for requirement in required:
        held = lock.get(canonicalize_name(requirement.name))
        if held is None or not held.applies(environment(machine)):
            found.append(f"{by} requires {requirement}, which the lock does not hold")
        elif not requirement.specifier.contains(held.version, prereleases=True):
            found.append(f"{by} requires {requirement}, the lock holds {held.version}")
    return found


def requirements(texts: list[str], machine: str, extras: set[str]) -> list[Requirement]:
    """Return what the texts of a package's metadata ask for on a machine, with these of its extras."""
    parsed = [Requirement(text) for text in texts]
    asked = [environment(machine, extra) for extra in {"", *extras}]
    return [each for each in parsed if each.marker is None or any(each.marker.evaluate(one) for one in asked)]


CUDA, CPU = locked("requirements-cuda.lock"), locked("requirements.lock")
RECORD: dict[str, dict[str, Any]] = json.loads((ROOT / "requirements-cuda.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TORCH = ("torch", "torchvision")


def test_the_record_is_of_the_very_wheels_that_are_locked() -> None:
    assert RECORD.keys() == CUDA.keys() - CPU.keys()
    for name, entry in RECORD.items():
        assert entry["version"] == CUDA[name].version
        assert entry["sha256"] in CUDA[name].hashes


@pytest.mark.parametrize("machine", ["linux-x86_64", "linux-aarch64"])
def test_torch_with_cuda_lacks_nothing(machine: str) -> None:
    """From torch and torchvision on, through the extras by which they name CUDA's libraries, to the last of these."""
    waiting, seen, found = [(name, frozenset[str]()) for name in TORCH], set(), []
    while waiting:
        name, extras = waiting.pop()
        if name not in RECORD or (name, extras) in seen:  # what is no part of the record has a test of its own below
            continue
        seen.add((name, extras))
        required = requirements(RECORD[name]["requires_dist"], machine, set(extras))
        found += missing(required, CUDA, machine, name)
        waiting += [(canonicalize_name(each.name), frozenset(each.extras)) for each in required]
    assert found == []
    reached = {name for name, _ in seen}
    assert reached == RECORD.keys(), "and nothing is installed that nobody asks for"
    assert {"nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-nccl-cu13", "triton"} <= reached


def test_a_missing_library_would_be_found() -> None:
    """The trap that this lock ends: without CUDA's libraries torch installs, and fails when it is imported."""
    required = requirements(RECORD["torch"]["requires_dist"], "linux-x86_64", set())
    without = {name: entry for name, entry in CUDA.items() if name != "nvidia-nccl-cu13"}
    assert len(missing(required, without, "linux-x86_64", "torch")) == 1
    assert len(missing(required, CPU, "linux-x86_64", "torch")) >= 6


def test_macos_gets_torch_without_cuda() -> None:
    held = {name for name in RECORD if CUDA[name].applies(environment("macos-arm64"))}
    assert held == set(TORCH)
    for name in TORCH:
        required = requirements(RECORD[name]["requires_dist"], "macos-arm64", set())
        assert missing(required, CUDA, "macos-arm64", name) == []


def test_the_lock_for_the_cpu_is_the_other_without_torch() -> None:
    assert {name: CUDA[name] for name in CPU} == CPU


@pytest.mark.parametrize("machine", MACHINES)
def test_what_the_project_asks_for_is_locked(machine: str) -> None:
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    for name, texts in {"the project": PROJECT["dependencies"], **extras}.items():
        assert missing(requirements(texts, machine, set()), CUDA, machine, name) == []


@pytest.mark.parametrize("machine", MACHINES)
def test_what_locked_packages_ask_for_is_locked(machine: str) -> None:
    """By the metadata of what is installed here, which for a package's other wheels is nearly always the same."""
    found, known = [], 0
    for name, entry in CPU.items():
        if not entry.applies(environment(machine)):
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another kind of machine than this
        assert distribution.version == entry.version, f"{name}: not the locked one; make install"
        known += 1
        found += missing(requirements(distribution.requires or [], machine, set()), CUDA, machine, name)
    assert found == []
    assert known > 230


def test_one_version_of_torch_everywhere() -> None:
    wanted = {f"{name}=={CUDA[name].version}" for name in TORCH}
    assert wanted <= set(PROJECT["optional-dependencies"]["training"])
    makefile = re.search(r"^TORCH := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert makefile is not None
    assert set(makefile[1].split()) == wanted
    lines = (ROOT / "deployments/library/torch.txt").read_text().splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == wanted


@pytest.mark.parametrize(("name", "least"), [("library", 120), ("mlflow", 80), ("serving", 35)])
def test_the_images_have_the_versions_that_the_tests_run_with(name: str, least: int) -> None:
    image = locked(f"deployments/{name}/requirements.lock")
    shared = image.keys() & CPU.keys()
    assert len(shared) >= least
    assert {each: image[each].version for each in shared} == {each: CPU[each].version for each in shared}


def closure(texts: list[str]) -> set[str]:
    """Return the names of what these requirements bring on a Linux server, with what that brings in turn."""
    machine = "linux-x86_64"
    waiting, seen = requirements(texts, machine, set()), set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) not in seen:
            seen.add((name, extras))
            waiting += requirements(importlib.metadata.requires(name) or [], machine, set(extras))
    return {name for name, _ in seen}


def test_the_service_is_locked_with_what_it_asks_for_and_nothing_else() -> None:
    """So that torch, MLflow and what comes with them stay out, in this release and the next."""
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    wanted = closure([*PROJECT["dependencies"], *extras["serving"], *extras["dicom"]])
    assert locked("deployments/serving/requirements.lock").keys() == wanted | {"dumb-init", "psycopg2-binary"}
    assert not wanted & {"torch", "torchvision", "scikit-learn", "scipy", "matplotlib", "mlflow", "pandas", "pyarrow"}


def test_the_steps_environment_is_locked_with_what_training_asks_for() -> None:
    lock, extras = locked("deployments/library/requirements.lock"), PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *extras["training"], *extras["dicom"], *extras["versioning"]]
    wanted = [each for each in requirements(texts, "linux-x86_64", set()) if each.name not in TORCH]
    assert missing(wanted, lock, "linux-x86_64", "the steps' environment") == []
