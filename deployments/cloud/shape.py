"""Read shape.toml: what both clouds are made of."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).with_name("shape.toml")


@dataclass(frozen=True)
class Role:
    """What one role may do: with which buckets, and which secrets it may read."""

    buckets: dict[str, Literal["read", "write"]]
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Serving:
    """Size of one replica of the service (cores, MB), and the least and most replicas."""

    cpu: int
    memory_mb: int
    least: int
    most: int


@dataclass(frozen=True)
class Training:
    """Size of one training job (cores, MB), cores of all jobs together, tries of an interrupted job."""

    most_cpus: int
    cpus: int
    memory_mb: int
    attempts: int


@dataclass(frozen=True)
class Shape:
    """The whole shape; machine and database hold the clouds' names of sizes beside numbers, as in the file."""

    project: str
    release: str
    repository: str
    budget_usd: int
    regions: dict[str, str]
    buckets: dict[str, str]
    machine: dict[str, Any]
    serving: Serving
    training: Training
    database: dict[str, Any]
    secrets: tuple[str, ...]
    roles: dict[str, Role]

    def name(self, part: str) -> str:
        """Return the name of a part, as in ``pneumonia-data``."""
        return f"{self.project}-{part}"


def read_shape(file: Path = FILE) -> Shape:
    """Read the file; raise where a key is missing or unknown, or a role names what does not exist."""
    found = tomllib.loads(file.read_text(encoding="utf-8"))
    roles = {name: Role(dict(role["buckets"]), tuple(role["secrets"])) for name, role in found.pop("roles").items()}
    secrets = tuple(found.pop("secrets"))
    serving, training = Serving(**found.pop("serving")), Training(**found.pop("training"))
    shape = Shape(roles=roles, secrets=secrets, serving=serving, training=training, **found)
    for name, role in roles.items():
        strange = (set(role.buckets) - set(shape.buckets)) | (set(role.secrets) - set(shape.secrets))
        if strange or not set(role.buckets.values()) <= {"read", "write"}:
            raise ValueError(f"{file.name}: the role {name} names {sorted(strange) or dict(role.buckets)}")
    return shape
