"""Alert rules: each has a severity, a runbook that exists, a case in which it fires and one in which it does not."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployments.stack import ROOT

FOLDER = ROOT / "deployments/prometheus"
GROUPS = ("service", "model", "pipeline")
PROMETHEUS, ALERTMANAGER = "prom/prometheus:v2.53.3", "prom/alertmanager:v0.28.1"
RUNBOOK = "docs/operations.md#"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules_of(name: str) -> list[dict[str, Any]]:
    (group,) = read(FOLDER / f"rules/{name}.yml")["groups"]
    assert group["name"] == name
    found: list[dict[str, Any]] = group["rules"]
    return found


RULES = [rule for name in GROUPS for rule in rules_of(name)]


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_files_are_those_of_the_groups() -> None:
    for folder in ("rules", "tests"):
        assert {path.stem for path in (FOLDER / folder).iterdir()} == set(GROUPS)
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) == 21


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_has_a_severity_words_and_a_runbook_of_its_own(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    place, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert f"{place}#" == RUNBOOK
    assert anchor == f"alert-{rule['alert'].lower()}"
    assert anchor in anchors((ROOT / place).read_text(encoding="utf-8"))


def test_each_runbook_belongs_to_an_alert() -> None:
    written = {name for name in anchors((ROOT / "docs/operations.md").read_text()) if name.startswith("alert-")}
    assert written == {f"alert-{rule['alert'].lower()}" for rule in RULES}


def test_what_starts_the_monitor_is_what_the_model_sees_and_nothing_else() -> None:
    assert {rule["alert"] for rule in RULES if "loop" in rule["labels"]} == {"ModelDrift", "EstimatedAccuracyLow"}
    config = read(ROOT / "deployments/alertmanager/alertmanager.yml")
    (route,) = [one for one in config["route"]["routes"] if one["receiver"] == "monitor"]
    assert route["matchers"] == ['loop="true"']
    for rule in config["inhibit_rules"]:
        named = re.findall(r"[A-Z]\w+", "".join(rule["source_matchers"] + rule["target_matchers"]))
        assert set(named) <= {rule["alert"] for rule in RULES}


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    for name in GROUPS:
        outcomes: dict[str, set[bool]] = defaultdict(set)
        for case in read(FOLDER / f"tests/{name}.yml")["tests"]:
            for check in case["promql_expr_test"]:
                found = re.search(r'ALERTS\{alertname="(\w+)", alertstate="firing"\}', check["expr"])
                assert found
                outcomes[found[1]].add(bool(check["exp_samples"]))
        assert outcomes == {rule["alert"]: {True, False} for rule in rules_of(name)}


def in_container(image: str, folder: Path, program: str, *arguments: str) -> str:
    """Run a program on a copy of a folder in a container: what is mounted depends on where the engine runs."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(folder, "config")
    script = f'cd /tmp && tar -x && touch metrics_key webhook_token && cd config && exec {program} "$@"'
    command = ["docker", "run", "--rm", "--interactive", "--network=none", "--entrypoint=sh", image, "-c", script, "-"]
    done = subprocess.run(
        [*command, *arguments], input=content.getvalue(), capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


@pytest.mark.stack
def test_promtool_finds_the_configuration_and_the_rules_valid(engine: None) -> None:
    said = in_container(PROMETHEUS, FOLDER, "promtool", "check", "config", "prometheus.yml")
    assert "prometheus.yml is valid" in said
    said = in_container(PROMETHEUS, FOLDER, "promtool", "check", "rules", *(f"rules/{name}.yml" for name in GROUPS))
    assert [int(count) for count in re.findall(r"(\d+) rules found", said)] == [len(rules_of(name)) for name in GROUPS]


@pytest.mark.stack
@pytest.mark.parametrize("name", GROUPS)
def test_the_rules_fire_when_they_should(engine: None, name: str) -> None:
    assert "SUCCESS" in in_container(PROMETHEUS, FOLDER, "promtool", "test", "rules", f"tests/{name}.yml")


@pytest.mark.stack
def test_amtool_finds_the_configuration_valid_and_routes_as_meant(engine: None) -> None:
    folder = ROOT / "deployments/alertmanager"
    assert "SUCCESS" in in_container(ALERTMANAGER, folder, "amtool", "check-config", "alertmanager.yml")
    for labels, receivers in ((["loop=true", "alertname=ModelDrift"], "monitor,page"), (["severity=critical"], "page")):
        said = in_container(
            ALERTMANAGER, folder, "amtool", "config", "routes", "test", "--config.file=alertmanager.yml", *labels
        )
        assert said.strip() == receivers
