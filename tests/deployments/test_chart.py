"""The Helm chart: it renders for every set of values, fits several Kubernetes, and agrees with the stack."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pneumonia.serving.gate import OPEN
from pneumonia.serving.routes import ROUTES
from tests.deployments.chart import ACCEPTED, CHART, REFUSED, Rendered, read, stage_of, value_sets
from tests.deployments.stack import ROOT

pytestmark = pytest.mark.integration
SETS = tuple(value_sets())
NOT_HELD = {
    "CKV_K8S_15": "an image is named by version or digest, which never changes: a node need not ask for it again",
    "CKV_K8S_21": "Helm puts everything into the namespace of its command; no manifest names one",
    "CKV_K8S_35": "the programs take their secrets from variables, as in the Compose stack",
    "CKV_K8S_40": "the images' own user is 1000, PostgreSQL's 999: files in their volumes belong to them",
    "CKV_K8S_43": "by digest where values name it, as the set ingress does: the chart cannot know it",
}
"""Policies of checkov that the chart does not keep, and why."""
OF_A_TEST = {"CKV_K8S_8", "CKV_K8S_9"}
"""Probes, which a pod that ends has not."""
COMPONENTS = {"serving", "mlflow", "postgres"}


@pytest.mark.parametrize("name", SETS)
def test_lint_finds_nothing(charts: dict[str, Rendered], name: str) -> None:
    assert charts[name].found["lint"] == []


@pytest.mark.parametrize("name", SETS)
def test_every_manifest_fits_the_schemas_of_several_kubernetes(charts: dict[str, Rendered], name: str) -> None:
    """Strictly: a field that a version does not know is an error. The operator's kinds have no schema there."""
    found = charts[name].found["schemas"]
    assert found["invalid"] == []
    own = charts[name].of_kind("ServiceMonitor", "PrometheusRule")
    assert set(found["unknown"]) == {each["kind"] for each in own}
    assert found["checked"] == 4 * (len(charts[name].resources) - len(own)) > 30


@pytest.mark.parametrize("name", SETS)
def test_the_policies_that_are_not_kept_are_named(charts: dict[str, Rendered], name: str) -> None:
    found = charts[name].found["policies"]
    failed = {tuple(line.split(" ", 1)) for line in found["failed"]}
    rest = {(policy, place) for policy, place in failed if policy not in NOT_HELD}
    assert rest == {(policy, "Pod.default.pneumonia-test") for policy in OF_A_TEST}
    seen = {place.split(".")[0] for place in found["seen"]}
    assert seen >= {"Deployment", "Service", "ServiceAccount", "Pod"}
    assert found["passed"] > 150


def test_every_exception_from_the_policies_is_needed(charts: dict[str, Rendered]) -> None:
    failed = {line.split(" ")[0] for each in charts.values() for line in each.found["policies"]["failed"]}
    assert failed == set(NOT_HELD) | OF_A_TEST
    assert "CKV_K8S_43" not in str(charts["ingress"].found["policies"]["failed"])


@pytest.mark.parametrize("words", [words for words, _ in REFUSED])
def test_wrong_values_are_refused_with_the_reason(rendered_sets: dict[str, Any], words: str) -> None:
    assert words in (rendered_sets[words]["error"] or "it was rendered")


@pytest.mark.parametrize("name", ACCEPTED)
def test_unusual_values_are_not_refused(rendered_sets: dict[str, Any], name: str) -> None:
    assert rendered_sets[name]["error"] is None


@pytest.mark.parametrize("name", SETS)
def test_every_container_is_confined(charts: dict[str, Rendered], name: str) -> None:
    for part, pod in charts[name].pods():
        assert pod["automountServiceAccountToken"] is False, part
        assert pod["enableServiceLinks"] is False, part
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, part
        assert context["runAsUser"] == (999 if part == "postgres" else 1000), part
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, part
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), part
        assert not [volume for volume in pod.get("volumes", ()) if "hostPath" in volume], part
    for part, container in charts[name].containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, part
        assert set(container["resources"]["limits"]) == set(container["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", SETS)
def test_every_disk_in_a_pod_has_a_limit(charts: dict[str, Rendered], name: str) -> None:
    for part, pod in charts[name].pods():
        for volume in pod.get("volumes", ()):
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], (part, volume)


def test_probes_ask_what_the_service_answers_without_a_key(charts: dict[str, Rendered]) -> None:
    container = charts["ingress"].container("serving")
    asked = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert asked == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    assert set(asked.values()) <= {route.path for route in ROUTES} & set(OPEN)
    monitors = {each["metadata"]["name"]: each["spec"] for each in charts["ingress"].of_kind("ServiceMonitor")}
    assert [end["path"] for spec in monitors.values() for end in spec["endpoints"]] == ["/metrics", "/metrics"]


def test_parts_run_what_the_stack_runs(charts: dict[str, Rendered]) -> None:
    """Images, commands, ports, folders and users are those of Dockerfile and Compose file."""
    services = read(ROOT / "docker-compose.yml")["services"]
    chart = charts["ingress"]
    for part in COMPONENTS:
        container, stage = chart.container(part), stage_of(part)
        image = re.sub(r"^ghcr.io/example/|@.*", "", container["image"])
        assert image == re.sub(r":.*", "", services[part]["image"]) == f"pneumonia-{part}"
        if part != "postgres":
            port = container["ports"][0]["containerPort"]
            assert f"EXPOSE {port}\n" in stage, part
            assert f":{port}" in services[part]["ports"][0], part
            assert "USER 1000:1000" in stage, part
        folders = {volume.partition(":")[2] for volume in services[part]["volumes"]}
        folders |= {folder.partition(":")[0] for folder in services[part]["tmpfs"]}
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert folders <= mounted, part
    command = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", argument) for argument in services["mlflow"]["command"]]
    given = [argument for argument in command if "allowed-hosts" not in argument]
    assert [each for each in chart.container("mlflow")["args"] if "allowed-hosts" not in each] == given
    assert str(chart.container("serving")["args"]).replace("'", '"') in stage_of("serving")
    webhook = chart.container("webhook")
    assert [re.sub("=http.*", "", each) for each in webhook["args"]] == [
        re.sub("=http.*", "", each) for each in services["alert-webhook"]["command"]
    ]
    assert (
        f":{webhook['ports'][0]['containerPort']}"
        in read(ROOT / "deployments/prometheus/prometheus.yml")["scrape_configs"][1]["static_configs"][0]["targets"][0]
    )


def test_what_the_chart_starts_from_the_image_is_in_it(charts: dict[str, Rendered]) -> None:
    for name in SETS:
        for part, container in charts[name].containers():
            target = re.sub(r".*pneumonia-([a-z]+).*", r"\1", container["image"])
            for file in re.findall(r"/opt/stack/(\w+\.py)", str(container.get("args"))):
                assert f"deployments/{target}/{file}" in stage_of(target), (part, file)
                assert (ROOT / f"deployments/{target}/{file}").is_file()


def test_services_lead_to_ports_that_their_pods_have(charts: dict[str, Rendered]) -> None:
    for name in SETS:
        pods = dict(charts[name].pods())
        for service in charts[name].of_kind("Service"):
            pod = pods[service["spec"]["selector"]["app.kubernetes.io/component"]]
            named = {port["name"] for container in pod["containers"] for port in container["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_the_rules_are_the_stacks_own_and_keep_the_names_of_its_jobs(charts: dict[str, Rendered]) -> None:
    rules = {each["metadata"]["name"]: each["spec"] for each in charts["ingress"].of_kind("PrometheusRule")}
    own = {path.stem: read(path) for path in (ROOT / "deployments/prometheus/rules").iterdir()}
    assert rules == {f"pneumonia-{name}": spec for name, spec in own.items()}
    monitors = charts["ingress"].of_kind("ServiceMonitor")
    jobs = {rule["replacement"] for each in monitors for rule in each["spec"]["endpoints"][0]["relabelings"]}
    named = {job["job_name"] for job in read(ROOT / "deployments/prometheus/prometheus.yml")["scrape_configs"]}
    assert jobs == {"service", "pipelines"} <= named
    for each in monitors:
        service = charts["ingress"].one("Service", each["metadata"]["name"])
        wanted = each["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= service["metadata"]["labels"].items()
        assert each["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_migrations_run_before_the_pods_and_where_there_is_a_database(charts: dict[str, Rendered]) -> None:
    hooks = {
        name: {job["metadata"]["annotations"]["helm.sh/hook"] for job in charts[name].of_kind("Job")} for name in SETS
    }
    assert hooks == {
        "defaults": {"pre-upgrade"},
        "external-postgres": {"pre-install,pre-upgrade"},
        "gcs": {"pre-install,pre-upgrade"},
        "ingress": {"pre-upgrade"},
        "minimal": set(),
        "s3": {"pre-install,pre-upgrade"},
    }
    commands = [container["args"] for part, container in charts["s3"].containers() if part == "migrations"]
    assert [command[:3] for command in commands] == [
        ["mlflow", "db", "upgrade"],
        ["python", "-m", "mlflow.server.auth"],
        ["python", "/opt/stack/migrate.py"],
    ]


def test_a_pod_has_time_to_answer_what_it_has_accepted(charts: dict[str, Rendered]) -> None:
    """The pause before SIGTERM and the drain together are shorter than the time before SIGKILL."""
    (pod,) = [pod for part, pod in charts["defaults"].pods() if part == "serving"]
    container = pod["containers"][0]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = int(variables["PNEUMONIA_SERVING__DRAIN_SECONDS"])
    assert pause + drain < pod["terminationGracePeriodSeconds"]


def test_the_notes_say_what_it_is_and_name_what_is_there(charts: dict[str, Rendered]) -> None:
    for name in SETS:
        notes = charts[name].found["notes"]
        assert notes.startswith("Not a medical device")
        services = {each["metadata"]["name"] for each in charts[name].of_kind("Service")}
        assert set(re.findall(r"service/([\w-]+)", notes)) <= services
        assert set(re.findall(r"data\.(\w+)", notes)) <= {"MLFLOW_PIPELINE_PASSWORD", "PNEUMONIA_API_KEY"}


def test_the_version_is_the_projects(charts: dict[str, Rendered]) -> None:
    chart = read(CHART / "Chart.yaml")
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert chart["appVersion"] == version[1]
