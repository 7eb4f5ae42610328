"""The chart's pods as containers of a Docker engine, as Kubernetes would start them, from PostgreSQL to `helm test`.

Images, arguments, variables, users, read-only file systems, disks with their sizes, memory, names of Services and
probes are the chart's. What is missing is Kubernetes: scheduling, network policies, the autoscaler.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from pneumonia.config.resolve import resolve
from tests.deployments.chart import Rendered, environment_of
from tests.deployments.stack import ROOT, eventually
from tests.support.exports import export
from tests.support.registered import exported, promote

pytestmark = [pytest.mark.stack, pytest.mark.nightly]
NAME = "pneumonia-resnet18-phantom"
"""Which the service finds by itself."""
TARGETS = ("postgres", "mlflow", "serving")
SECRETS = {
    "POSTGRES_PASSWORD": "p1",
    "AIRFLOW_DB_PASSWORD": "p2",
    "MLFLOW_DB_PASSWORD": "p3/with@signs:",
    "MONITORING_DB_PASSWORD": "p4?with#others",
    "MLFLOW_SECRET_KEY": "f" * 64,
    "MLFLOW_ADMIN_PASSWORD": "an-admin's-own",
    "MLFLOW_PIPELINE_PASSWORD": "the-pipeline's",
    "MLFLOW_SERVING_PASSWORD": "the-service's",
    "PNEUMONIA_API_KEY": "the key of a test",
    "PNEUMONIA_METRICS_KEY": "the metrics' own",
}


def docker(*words: str | Path, fails: bool = False) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=600, check=False)
    assert fails or done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.strip() + (done.stderr if fails else "")


class Cluster:
    """A network in which containers have the names of their Services."""

    def __init__(self, chart: Rendered, folder: Path) -> None:
        self.chart, self.folder = chart, folder
        self.tag = self.prefix = f"kube-{uuid.uuid4().hex[:8]}"
        self.pods = dict(chart.pods())

    def open(self) -> None:
        for target in TARGETS:
            docker(
                *("build", "--quiet", "--file", ROOT / "deployments/Dockerfile", "--target", target),
                *("--build-context", f"wheels={ROOT}/deployments/wheels", "--tag", f"pneumonia-{target}:{self.tag}"),
                ROOT,
            )
        docker("network", "create", self.prefix)

    def close(self) -> None:
        for part in self.pods:
            print(
                part, docker("logs", "--tail", "20", f"{self.prefix}-{part}", fails=True), sep="\n"
            )  # where a test failed
            docker("rm", "--force", "--volumes", f"{self.prefix}-{part}", fails=True)
        for volume in docker("volume", "ls", "--quiet", "--filter", f"name={self.prefix}").split():
            docker("volume", "rm", volume, fails=True)
        docker("network", "rm", self.prefix, fails=True)
        for target in TARGETS:
            docker("rmi", f"pneumonia-{target}:{self.tag}", fails=True)

    def user(self, part: str) -> int:
        """The user and group of a part's pod; PostgreSQL's is 999 in its published image, not in a stand-in."""
        wanted = int(self.pods[part]["securityContext"]["runAsUser"])
        assert self.pods[part]["securityContext"]["fsGroup"] == wanted
        if part != "postgres":
            return wanted
        return int(docker("run", "--rm", "--entrypoint", "id", f"pneumonia-postgres:{self.tag}", "-u", "postgres"))

    def options(self, part: str, container: Mapping[str, Any]) -> list[str]:
        """What `docker run` is given for a container of a part."""
        pod = self.pods[part]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        user = self.user(part)
        options = ["--network", self.prefix, "--network-alias", f"pneumonia-{part}", "--user", f"{user}:{user}"]
        options += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"]
        memory = container["resources"]["limits"]["memory"]
        options += ["--memory", memory.replace("Mi", "m").replace("Gi", "g"), "--pids-limit", "512"]
        for name, value in environment_of(container, SECRETS).items():
            options += ["--env", f"{name}={value}"]
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        for mount in container["volumeMounts"]:
            options += self.mount(mount, volumes.get(mount["name"], {}), self.user(part))
        return options

    def mount(self, mount: Mapping[str, Any], volume: Mapping[str, Any], group: int) -> list[str]:
        path = mount["mountPath"]
        if "emptyDir" in volume:
            size = volume["emptyDir"]["sizeLimit"].replace("Mi", "m").replace("Gi", "g")
            # Kubernetes lets everybody write there; the engine gives it the mode that the image's folder has
            return ["--tmpfs", f"{path}:size={size},uid={group},gid={group}"]
        if "secret" in volume:
            file = self.folder / mount["subPath"]
            file.write_bytes(bytes(32))
            docker("run", "--rm", "--user", "0", "--volume", f"{self.folder}:/x", f"pneumonia-serving:{self.tag}",
                   "sh", "-c", f"chown 0:{group} /x/{file.name} && chmod 0440 /x/{file.name}")  # fmt: skip
            return ["--volume", f"{file}:{path}:ro"]
        name = f"{self.prefix}-{mount['name']}"
        docker("volume", "create", name)  # a claim: its root belongs to root, its group is the pod's
        docker("run", "--rm", "--user", "0", "--volume", f"{name}:/x", f"pneumonia-serving:{self.tag}",
               "sh", "-c", f"chgrp {group} /x && chmod 2775 /x")  # fmt: skip
        return ["--volume", f"{name}:{path}:nocopy"]

    def image(self, container: Mapping[str, Any]) -> str:
        return f"{container['image'].partition(':')[0]}:{self.tag}"

    def start(self, part: str) -> None:
        container = self.chart.container(part)
        publish = ["--publish", "127.0.0.1::5000"] if part == "mlflow" else []
        command = [self.image(container), *container.get("args", ())]
        docker("run", "--detach", "--name", f"{self.prefix}-{part}", *publish, *self.options(part, container), *command)

    def run(self, part: str) -> list[str]:
        """Run a part's containers one after the other, as a job does; return what each said."""
        said = []
        for name, container in self.chart.containers():
            if name == part:
                values = environment_of(container, SECRETS)
                words = [word.replace("$(DATABASE_URI)", values.get("DATABASE_URI", "")) for word in container["args"]]
                said.append(docker("run", "--rm", *self.options(part, container), self.image(container), *words))
        return said

    def probe(self, part: str, kind: str) -> bool:
        """Ask as the kubelet does: a command in the container, or HTTP at the pod's own address."""
        probe = self.chart.container(part)[f"{kind}Probe"]
        name = f"{self.prefix}-{part}"
        assert docker("inspect", "--format", "{{.State.Running}}", name) == "true", docker("logs", name, fails=True)
        if "exec" in probe:
            command = ["docker", "exec", name, *probe["exec"]["command"]]
            return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
        address = docker(
            "inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{self.prefix}").IPAddress}}}}', name
        )
        port = self.chart.container(part)["ports"][0]["containerPort"]
        url = f"http://{address}:{port}{probe['httpGet']['path']}"
        return requests.get(url, timeout=probe["timeoutSeconds"]).status_code == 200

    def wait_for(self, part: str, kind: str) -> None:
        probe = self.chart.container(part)[f"{kind}Probe"]
        longest = probe["periodSeconds"] * probe.get("failureThreshold", 3) + 60
        eventually(f"{part}: {kind}", lambda: self.probe(part, kind), longest)

    def published(self) -> str:
        return "http://" + docker("port", f"{self.prefix}-mlflow", "5000").splitlines()[0]


@pytest.fixture
def cluster(engine: None, charts: dict[str, Rendered], tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(charts["defaults"], tmp_path)
    try:
        made.open()
        yield made
    finally:
        made.close()


def test_the_release_from_its_database_to_helm_test(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.start("postgres")
    cluster.wait_for("postgres", "startup")
    cluster.start("mlflow")
    cluster.start("serving")
    cluster.wait_for("mlflow", "startup")
    cluster.wait_for("serving", "startup")
    assert not cluster.probe("serving", "readiness")  # there is no champion yet

    monkeypatch.setenv("MLFLOW_TRACKING_URI", cluster.published())
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "pipeline")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["MLFLOW_PIPELINE_PASSWORD"])
    export(tmp_path / "export", images=32, name=NAME)
    version = exported(resolve(assignments=[f"work={tmp_path}/work"]), tmp_path / "export")
    promote(cluster.published(), version.version, NAME)
    eventually("the champion is served", lambda: cluster.probe("serving", "readiness"), 300)

    assert "scored the phantom" in cluster.run("test")[0]
    said = cluster.run("migrations")  # as before an upgrade, while the pods run
    assert len(said) == 3
    assert "its tables are at revision" in said[2]
    assert "scored the phantom" in cluster.run("test")[0]
    rows = docker(
        *("exec", f"{cluster.prefix}-postgres", "psql", "--username=postgres", "--dbname=monitoring", "--tuples-only"),
        *("--command", "SELECT count(*) FROM events"),
    )
    assert int(rows) == 2
    docker("stop", "--time", "35", f"{cluster.prefix}-serving")
    assert docker("inspect", "--format", "{{.State.ExitCode}}", f"{cluster.prefix}-serving") == "0"
