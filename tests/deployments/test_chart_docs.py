"""docs/kubernetes.md and try_in_kind.sh: what they name is there, what they set is accepted; the table of values."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from tests.deployments.chart import CHART, FOLDER, PAGE, Rendered, commands, of_the_chart, value_sets
from tests.deployments.stack import ROOT
from tests.support.loaded import loaded

pytestmark = pytest.mark.integration
KIND = FOLDER / "try_in_kind.sh"


def test_the_table_is_that_of_the_values() -> None:
    script = loaded(ROOT / "deployments/scripts/write_values_table.py")
    text = PAGE.read_text(encoding="utf-8")
    assert script.page(text) == text, "python deployments/scripts/write_values_table.py"
    assert text.count("\n| `serving.") > 20


def test_the_settings_that_the_chart_takes_are_the_configurations() -> None:
    script = loaded(ROOT / "deployments/scripts/write_chart_settings.py")
    text = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert script.schema(text) == text, "python deployments/scripts/write_chart_settings.py"
    assert {"serving.queue", "signing.public_key", "registry.name", "monitoring.sample"} <= set(script.names())
    given = set(re.findall(r"name: PNEUMONIA_(\w+)", (CHART / "templates/serving.yaml").read_text(encoding="utf-8")))
    own = {name.upper().replace(".", "__") for name in script.CHARTS_OWN}
    assert {name for name in given if "__" in name} <= own, "nothing is given twice"


def test_every_value_is_described_and_nothing_else_is_accepted() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def closed(entry: dict[str, Any], place: str) -> None:
        if "properties" in entry and "description" not in entry:
            assert entry["additionalProperties"] is False, place
            for name, inner in entry["properties"].items():
                closed(inner, f"{place}.{name}")
        else:
            assert len(entry["description"]) > 5, place

    closed(schema, "")
    for name, entry in schema["$defs"].items():
        assert "description" not in entry, name  # each use describes its own


def test_every_documented_assignment_is_accepted(rendered_sets: dict[str, Any]) -> None:
    found = [words for words in commands(PAGE) if of_the_chart(words)]
    assert len(found) >= 3
    for words in found:
        assert rendered_sets[" ".join(words)]["error"] is None, words


def test_what_the_page_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for path in re.findall(r"(?<![\w/])deployments/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path
    named = set(re.findall(r"`([\w-]+)-values\.yaml`", text))
    assert named == set(value_sets()) - {"defaults"}
    for link, anchor in re.findall(r"\]\(([\w.]+\.md)#?([\w-]*)\)", text):
        target = (ROOT / "docs" / link).read_text(encoding="utf-8")
        titles = {
            re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.+)$", target, re.M)
        }
        assert not anchor or anchor in titles, (link, anchor)


def test_the_versions_on_the_page_are_those_that_are_checked() -> None:
    source = (ROOT / "tests/deployments/inspect_chart.py").read_text()
    found = re.search(r"^VERSIONS = \((.*)\)$", source, re.MULTILINE)
    assert found
    versions = re.findall(r"[\d.]+", found[1])
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"of Kubernetes {', '.join(versions[:-1])} and {versions[-1]}" in page
    assert re.search(r'kubeVersion: ">=1\.25\.0-0"', (CHART / "Chart.yaml").read_text())
    assert versions[0] == "1.25"


def test_the_page_says_at_its_head_what_was_not_tried() -> None:
    for path in (PAGE, KIND, FOLDER / "airflow-values.yaml"):
        head = path.read_text(encoding="utf-8")[:700]
        assert re.search(r"[Nn]ot (run|tried)", head), path


def test_the_kind_script_is_sound_and_names_what_the_chart_has(charts: dict[str, Rendered]) -> None:
    done = subprocess.run(["bash", "-n", KIND], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text = KIND.read_text(encoding="utf-8")
    names = {each["metadata"]["name"] for each in charts["defaults"].resources}
    assert set(re.findall(r"(?:service|deployment)/([\w-]+)", text)) <= names
    for target in re.findall(r"for target in ([a-z ]+);", text):
        images = {re.sub(r":.*", "", each["image"]) for _, each in charts["defaults"].containers()}
        assert {f"pneumonia-{name}" for name in target.split()} == images
    for path in re.findall(r"(?<![\w/])(?:deployments|flows)/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path
    verbs = [words[1] for words in commands(KIND)]
    assert verbs == ["install", "test", "upgrade", "test", "rollback", "test"]
