"""The Helm chart as the tests see it: sets of values, what is rendered of them, and a pod's container as a process."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployments.stack import ROOT

FOLDER = ROOT / "deployments/kubernetes"
CHART = FOLDER / "pneumonia"
PAGE = ROOT / "docs/kubernetes.md"
DELIVERY_PYTHON = ROOT / ".venv-delivery/bin/python"
Resource = dict[str, Any]
S3 = {"mlflow": {"artifacts": {"destination": "s3://bucket/mlflow"}}}
OUTSIDE = {"postgres": {"enabled": False}}
NO_LIMITS = {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": None}


def limited(**limits: str) -> dict[str, Any]:
    """The service's resources with another limit."""
    return {"serving": {"resources": NO_LIMITS | {"limits": {"cpu": "2", "memory": "1Gi"} | limits}}}


def networks(*each: str) -> dict[str, Any]:
    """Networks of a database of one's own."""
    return {"networkPolicy": {"databaseCIDRs": list(each)}}


ACCEPTED = {
    **{each: [f"image.registry={each}"] for each in ("localhost:5000", "ghcr.io/o", "r.example.org/a_b/c--d/")},
    **{each: [f"networkPolicy.databaseCIDRs={{{each}}}"] for each in ("0.0.0.0/0", "10.1.2.3/32", "fd00::/8", "::/0")},
    **{each: [f"serving.resources.limits.cpu={each}"] for each in ("3", "0.5", "1500m")},
    **{each: [f"serving.resources.limits.memory={each}"] for each in ("1.5Gi", "800M", "0.5Gi")},
}
"""Assignments that are no more than unusual."""
REFUSED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("additional properties 'replica' not allowed", {"serving": {"replica": 3}}),
    ("minimum: got 0, want 1", {"serving": {"replicas": 0}}),
    ("value must be one of 'Always', 'IfNotPresent', 'Never'", {"image": {"pullPolicy": "Sometimes"}}),
    ("got string, want boolean", {"networkPolicy": {"enabled": "no"}}),
    ("missing property 'limits'", {"serving": {"resources": NO_LIMITS}}),
    ("invalid propertyName 'serving.threads'", {"serving": {"settings": {"serving.threads": 2}}}),
    ("invalid propertyName 'train.epochs'", {"serving": {"settings": {"train.epochs": 2}}}),
    ("invalid propertyName 'serving.quue'", {"serving": {"settings": {"serving.quue": 32}}}),
    ("at '/image/registry': 'ghcr.io/OWNER' does not match", {"image": {"registry": "ghcr.io/OWNER"}}),
    ("at '/image/registry': 'https://ghcr.io/o' does not match", {"image": {"registry": "https://ghcr.io/o"}}),
    ("at '/serving/resources/limits/memory': 'foo' does not match", limited(memory="foo")),
    ("at '/serving/resources/limits/cpu': '2000mm' does not match", limited(cpu="2000mm")),
    ("at '/networkPolicy/databaseCIDRs/0': '10.0.0.0/99' does not match", networks("10.0.0.0/99")),
    ("at '/networkPolicy/databaseCIDRs/0': '10.0.0.256/8' does not match", networks("10.0.0.256/8")),
    ("'fd00::/129' does not match", networks("fd00::/129")),
    ("'10.0.0.0' does not match", {"networkPolicy": {"clients": [{"ipBlock": {"cidr": "10.0.0.0"}}]}}),
    ("does not match pattern '^$|^sha256:", {"image": {"digests": {"serving": "latest"}}}),
    ("postgres.enabled=false: name your own PostgreSQL", OUTSIDE),
    ("set database.sslmode", OUTSIDE | {"database": {"host": "db"}}),
    ("networkPolicy.databaseCIDRs must name", OUTSIDE | {"database": {"host": "db", "sslmode": "require"}}),
    ("name the Secret with its authority", OUTSIDE | {"database": {"host": "db", "sslmode": "verify-full"}}),
    ("name two databases", {"database": {"host": "db"}}),
    ("name two servers", {"mlflow": {"uri": "https://mlflow.example.org"}}),
    ("mlflow.enabled=false: name your own server", {"mlflow": {"enabled": False}}),
    ("more than one needs artifacts in an object store", {"mlflow": {"replicas": 2}}),
    ("networkPolicy.objectStoreCIDRs must name", S3),
    ("kept images are found by their events", {"serving": {"keepImages": True, "record": False}}),
    ("name a claim that all replicas", {"serving": {"keepImages": True}}),
    ("without TLS keys and radiographs would pass in clear", {"ingress": {"enabled": True, "host": "x.example.org"}}),
    ("minReplicas is more than maxReplicas", {"serving": {"autoscaling": {"minReplicas": 9}}}),
    ("there are no events to look at", {"monitor": {"enabled": True}, "serving": {"record": False}}),
    ("networkPolicy.pipelines must name Airflow's pods", {"webhook": {"enabled": True}}),
)
"""Values that are refused, after words of the refusal."""
DIGEST = f"sha256:{'0' * 64}"


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Values as `--set` writes them."""
    for name, value in values.items():
        yield from flat(value, f"{above}{name}.") if isinstance(value, Mapping) else [f"{above}{name}={value}"]


def value_sets() -> dict[str, dict[str, Any]]:
    """The defaults, and the sets of values beside the chart."""
    files = sorted((CHART / "ci").glob("*-values.yaml"))
    return {"defaults": {}} | {path.name.removesuffix("-values.yaml"): read(path) for path in files}


def commands(path: Path) -> list[list[str]]:
    """The words of every command in a script, or in the indented or fenced lines of a page, that runs helm."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [
        shlex.split(line, comments=True) for line in lines if re.match(r"helm (install|upgrade|test|rollback) ", line)
    ]


def assignments(words: list[str]) -> list[str]:
    """What a command's --set flags set, with a name where a page has OWNER for the reader's."""
    return [value.replace("OWNER", "owner") for flag, value in itertools.pairwise(words) if flag == "--set"]


def of_the_chart(words: list[str]) -> bool:
    """Whether a command sets values of this chart, and not of another's."""
    return bool(assignments(words)) and "deployments/kubernetes/pneumonia" in words


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rendered(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What Helm and the checkers say of sets of values, in the environment of delivery."""
    if not DELIVERY_PYTHON.exists():
        pytest.skip(f"{DELIVERY_PYTHON.relative_to(ROOT)} is not there; make install-delivery makes it")
    done = subprocess.run(
        [DELIVERY_PYTHON, Path(__file__).with_name("inspect_chart.py"), CHART],
        input=json.dumps(sets),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


OVER_DIGESTS = [
    *(f"image.digests.{name}={DIGEST}" for name in ("serving", "mlflow", "postgres", "airflow")),
    *("image.registry=ghcr.io/me", "image.tag=9.9.9"),
    *flat(read(FOLDER / "by-tag-values.yaml")),
]
"""What an installation by digest has after an upgrade to another tag, as deploy.sh and docs/kubernetes.md make it."""


@dataclass(frozen=True)
class Rendered:
    """One set of values, rendered."""

    name: str
    found: dict[str, Any]

    @property
    def resources(self) -> list[Resource]:
        resources: list[Resource] = self.found["resources"]
        return resources

    def of_kind(self, *kinds: str) -> list[Resource]:
        return [each for each in self.resources if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> Resource:
        (found,) = [each for each in self.of_kind(kind) if each["metadata"]["name"] == name]
        return found

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The name of each part and the specification of its pods."""
        for each in self.of_kind("Deployment", "StatefulSet", "Job", "CronJob", "Pod"):
            above = each["spec"]["jobTemplate"] if each["kind"] == "CronJob" else each
            pod = above if above.get("kind") == "Pod" else above["spec"]["template"]
            yield pod["metadata"]["labels"]["app.kubernetes.io/component"], pod["spec"]

    def containers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The name of each part and its containers."""
        for part, pod in self.pods():
            for container in [*pod.get("initContainers", ()), *pod["containers"]]:
                yield part, container

    def container(self, part: str) -> dict[str, Any]:
        (found,) = [each for name, each in self.containers() if name == part]
        return found


def stage_of(target: str) -> str:
    """The lines of one of the Dockerfile's targets."""
    text = (ROOT / "deployments/Dockerfile").read_text()
    found = re.search(rf"^FROM \S+ AS {target}$(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, target
    return found[1]


def variables_of(target: str) -> dict[str, str]:
    """The variables that an image sets."""
    lines = re.findall(r"^ENV (.+?)$(?<!\\)", stage_of(target).replace("\\\n", " "), re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in line.split())


def environment_of(container: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, str]:
    """A container's variables as Kubernetes sets them: from values, the Secret, and the limits."""
    found = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            found[variable["name"]] = secrets[source["secretKeyRef"]["key"]]
        elif "resourceFieldRef" in source:
            assert source["resourceFieldRef"]["resource"] == "limits.cpu"
            found[variable["name"]] = str(cores(container["resources"]["limits"]["cpu"]))
        else:
            found[variable["name"]] = variable["value"]
    return found


def cores(quantity: str) -> int:
    """A quantity of CPU, rounded up, as a variable shows it."""
    thousandths = int(quantity[:-1]) if quantity.endswith("m") else int(float(quantity) * 1000)
    return -(-thousandths // 1000)
