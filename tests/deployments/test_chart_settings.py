"""What the chart gives to its containers: variables that the code reads, secrets by reference; who may reach whom."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from pneumonia.config.resolve import resolve
from tests.deployments.chart import CHART, FOLDER, Rendered, cores, environment_of, read, value_sets, variables_of
from tests.deployments.stack import ROOT

pytestmark = pytest.mark.integration
SETS = tuple(value_sets())
LIBPQ = {"PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT"}
"""Read by PostgreSQL's client library, beneath SQLAlchemy."""
ALLOCATOR = {"MALLOC_ARENA_MAX"}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The keys of the Secrets that docs/kubernetes.md makes, by name."""
    file = tmp_path_factory.mktemp("secrets") / "cluster.env"
    subprocess.run([sys.executable, ROOT / "deployments/scripts/write_env.py", file], check=True, timeout=30)
    command = [sys.executable, FOLDER / "write_secrets.py", file, "service"]
    printed = subprocess.run(command, check=True, timeout=30, capture_output=True, text=True).stdout
    return {each["metadata"]["name"]: set(each["data"]) for each in json.loads(printed)["items"]}


@pytest.mark.parametrize("name", SETS)
def test_every_variable_is_read_by_what_is_started(charts: dict[str, Rendered], name: str) -> None:
    """The configuration's by its own tree, the others where the stack has them, which the stack's tests run."""
    services = read(ROOT / "docker-compose.yml")["services"]
    known = {
        part: set(services[service]["environment"]) | LIBPQ | ALLOCATOR
        for part, service in {
            "serving": "serving",
            "mlflow": "mlflow",
            "postgres": "postgres",
            "webhook": "alert-webhook",
            "monitor": "airflow-scheduler",
        }.items()
    }
    known["postgres"] |= {"PGDATA"}
    known["migrations"] = known["serving"] | known["mlflow"] | {"DATABASE_URI"}  # the last is an argument's
    known["test"] = known["serving"]
    for part, container in charts[name].containers():
        names = [variable["name"] for variable in container["env"]]
        assert len(names) == len(set(names)), part
        settings = {each for each in names if each.startswith("PNEUMONIA_") and "__" in each}
        assert set(names) - settings <= known[part], part
        values = {each["name"]: each.get("value", "1") for each in container["env"] if each["name"] in settings}
        resolve(environment=values)


def test_a_misspelt_setting_would_be_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """The test above rests on it: a name that the tree does not know is said."""
    resolve(environment={"PNEUMONIA_SERVING__QUEUES": "3"})
    assert "PNEUMONIA_SERVING__QUEUES" in caplog.text


def test_settings_reach_the_configuration(charts: dict[str, Rendered]) -> None:
    container = charts["ingress"].container("serving")
    given = environment_of(container, dict.fromkeys(secret_keys(charts["ingress"]), "x"))
    config = resolve(environment=variables_of("serving") | given)
    assert (config.serving.queue, config.serving.rate, config.serving.check_input) == (32, 600, True)
    assert config.monitoring.sample == 0.5
    assert (config.serving.host, config.serving.drain_seconds, config.serving.model) == ("0.0.0.0", 20, "auto")  # noqa: S104
    assert config.work == "/var/lib/pneumonia"
    assert config.monitoring.folder == "/var/lib/monitoring"
    assert config.serving.threads == cores(container["resources"]["limits"]["cpu"]) == 2
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {config.work, config.monitoring.folder, f"{config.work}/patient.key"} < mounted


def secret_keys(chart: Rendered) -> set[str]:
    """The keys of the Secret that a set of values refers to."""
    found = set()
    for _, container in chart.containers():
        for variable in container["env"]:
            if "valueFrom" in variable and "secretKeyRef" in variable["valueFrom"]:
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "pneumonia"
                found.add(variable["valueFrom"]["secretKeyRef"]["key"])
    for monitor in chart.of_kind("ServiceMonitor"):
        for end in monitor["spec"]["endpoints"]:
            if "authorization" in end:
                assert end["authorization"]["credentials"]["name"] == "pneumonia"
                found.add(end["authorization"]["credentials"]["key"])
    return found


@pytest.mark.parametrize("name", SETS)
def test_what_is_secret_comes_from_the_secret_that_the_documented_command_makes(
    charts: dict[str, Rendered], secrets: dict[str, set[str]], name: str
) -> None:
    keys = secret_keys(charts[name])
    assert keys
    assert keys <= secrets["pneumonia"]
    for part, container in charts[name].containers():
        for variable in container["env"]:
            if re.search(r"PASSWORD|_KEY$|TOKEN", variable["name"]):
                assert set(variable) == {"name", "valueFrom"}, (part, variable["name"])


def test_every_secret_that_is_made_is_used(charts: dict[str, Rendered], secrets: dict[str, set[str]]) -> None:
    used = set().union(*(secret_keys(charts[name]) for name in SETS))
    assert used == secrets["pneumonia"]
    mounted = [
        volume["secret"]["secretName"]
        for name in SETS
        for _, pod in charts[name].pods()
        for volume in pod.get("volumes", ())
        if "secret" in volume
    ]
    assert set(mounted) - {"postgres-ca"} == set(secrets) - {"pneumonia"}


def test_values_hold_names_of_secrets_and_no_secret(charts: dict[str, Rendered]) -> None:
    assert not [each for name in SETS for each in charts[name].of_kind("Secret")]
    text = (CHART / "values.yaml").read_text()
    assert re.findall(r"(?im)^\s*(\w*(?:secret|password|token|key)\w*): *(\S.*)?$", text) == [
        ("pullSecrets", "[]"),
        ("secretName", "pneumonia"),
        ("patientKeySecretName", "pneumonia-patient-key"),
        ("caSecretName", '""'),
        ("tlsSecretName", '""'),
    ]


def test_no_address_of_a_database_holds_a_password(charts: dict[str, Rendered]) -> None:
    addresses = {
        variable["value"]
        for name in SETS
        for _, container in charts[name].containers()
        for variable in container["env"]
        if variable["name"].endswith("_URI") and "postgresql" in variable.get("value", "")
    }
    assert len(addresses) >= 4
    assert all(re.fullmatch(r"postgresql\+psycopg2://[a-z]+@[a-z0-9.-]+:\d+/[a-z]+", each) for each in addresses)


def peers_of(policy: dict[str, Any], way: str) -> set[tuple[str, int]]:
    """The parts, or kinds of peers, that a policy lets in or out, with the port."""
    found = set()
    for rule in policy["spec"][way]:
        for peer in rule.get("from" if way == "ingress" else "to", [{}]):
            labels = peer.get("podSelector", {}).get("matchLabels", {})
            named = labels.get("app.kubernetes.io/component") or labels.get("k8s-app")
            if named is None and "namespaceSelector" in peer:
                named = "namespace " + peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            if named is None:
                named = peer["ipBlock"]["cidr"] if "ipBlock" in peer else "namespace"
            found |= {(named, int(port["port"])) for port in rule["ports"]}
    return found


def test_nothing_is_let_in_or_out_but_what_is_listed(charts: dict[str, Rendered]) -> None:
    chart = charts["ingress"]
    policies = {each["metadata"]["name"]: each for each in chart.of_kind("NetworkPolicy")}
    deny = policies.pop("pneumonia-default-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    parts = {part for part, _ in chart.pods()}
    assert set(policies) == {f"pneumonia-{part}" for part in parts}
    airflow, monitoring = "namespace airflow", "namespace monitoring"
    assert {name.partition("-")[2]: peers_of(each, "ingress") for name, each in policies.items()} == {
        "serving": {("test", 8000), ("namespace ingress-nginx", 8000), (monitoring, 8000)},
        "mlflow": {("serving", 5000), ("webhook", 5000), ("monitor", 5000), (airflow, 5000)},
        "postgres": {(each, 5432) for each in ("serving", "mlflow", "migrations", "monitor", airflow)},
        "webhook": {(monitoring, 9095)},
        "migrations": set(),
        "test": set(),
    }
    names = {("kube-dns", 53)}
    assert {name.partition("-")[2]: peers_of(each, "egress") for name, each in policies.items()} == {
        "serving": {("mlflow", 5000), ("postgres", 5432)} | names,
        "mlflow": {("postgres", 5432)} | names,
        "postgres": set(),
        "webhook": {("mlflow", 5000), (airflow, 8080)} | names,
        "migrations": {("postgres", 5432)} | names,
        "test": {("serving", 8000)} | names,
    }


def test_what_a_part_may_reach_lets_it_in(charts: dict[str, Rendered]) -> None:
    """Both ends of a connection have to allow it."""
    for name in SETS:
        policies = {each["metadata"]["name"]: each for each in charts[name].of_kind("NetworkPolicy")}
        parts = {part for part, _ in charts[name].pods()}
        for part in parts:
            for other, port in peers_of(policies[f"pneumonia-{part}"], "egress"):
                if other in parts:
                    assert (part, port) in peers_of(policies[f"pneumonia-{other}"], "ingress"), (name, part, other)


def test_outside_of_the_cluster_only_the_named_networks_are_reached(charts: dict[str, Rendered]) -> None:
    policies = {each["metadata"]["name"]: each for each in charts["s3"].of_kind("NetworkPolicy")}
    assert ("10.0.64.0/20", 5432) in peers_of(policies["pneumonia-serving"], "egress")
    agent = ("169.254.170.23/32", 80)  # of EKS Pod Identity
    assert peers_of(policies["pneumonia-mlflow"], "egress") == {
        *(("10.0.64.0/20", 5432), ("0.0.0.0/0", 443), agent, ("kube-dns", 53)),
    }
    on_google = {each["metadata"]["name"]: each for each in charts["gcs"].of_kind("NetworkPolicy")}
    metadata = {("169.254.169.254/32", 80), ("169.254.169.252/32", 988)}
    assert metadata < peers_of(on_google["pneumonia-mlflow"], "egress")
    assert not metadata & peers_of(on_google["pneumonia-serving"], "egress")
    minimal = {each["metadata"]["name"]: each for each in charts["minimal"].of_kind("NetworkPolicy")}
    assert ("namespace", 443) in peers_of(minimal["pneumonia-serving"], "egress")
