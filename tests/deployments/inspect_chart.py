"""Run in the environment of delivery, not this one's: lint, render and check a chart; prints one line of JSON.

    python inspect_chart.py CHART < sets.json

sets.json has the values by the name of their set; "--set" in them is a list of what a command line sets, which is only
rendered, and comes back with its images. Another set comes back with what lint says, its manifests, and what the
schemas of each Kubernetes and the policies object to; a wrong one with the error that refused it.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import yaml
from checkov.kubernetes.runner import Runner
from checkov.runner_filter import RunnerFilter

VERSIONS = ("1.25", "1.29", "1.33", "1.37")
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)  # large files
NAMES = {"name": "pneumonia", "namespace": "clinic"}


def schemas(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what each version's schemas object to, and the kinds that they do not know."""
    invalid, unknown, checked = [], set(), 0
    for version in VERSIONS:
        for resource in resources:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
                checked += 1
            except kubernetes_validate.ValidationError as error:
                place = ".".join(map(str, error.path))
                invalid.append(f"{version} {resource['kind']} {resource['metadata']['name']} {place}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError:
                unknown.add(resource["kind"])
    return {"invalid": invalid, "unknown": sorted(unknown), "checked": checked}


def policies(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the policies that fail, by resource, and how many were asked of it; without a network."""
    with tempfile.TemporaryDirectory() as folder:
        for at, resource in enumerate(resources):
            (Path(folder) / f"{at}.yaml").write_text(yaml.safe_dump(resource))
        found = Runner().run(root_folder=folder, runner_filter=RunnerFilter(framework=["kubernetes"]))
    failed = sorted({f"{check.check_id} {check.resource}" for check in found.failed_checks})
    resources_seen = sorted({check.resource for check in [*found.passed_checks, *found.failed_checks]})
    return {"failed": failed, "passed": len(found.passed_checks), "seen": resources_seen}


def inspect(chart: Any, path: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return everything about one set of values."""
    assignments = values.pop("--set", None)
    try:
        if assignments:
            values = helm_python.parse_set_string(",".join(assignments))
        manifests = chart.render(values, **NAMES)
    except helm_python.HelmError as error:
        return {"error": str(error)}
    if assignments:
        return {"error": None, "images": sorted(set(re.findall(r"image: (\S+)", "".join(manifests.values()))))}
    notes = next(text for name, text in manifests.items() if name.endswith("/NOTES.txt"))
    texts = [text for name, text in manifests.items() if name.endswith(".yaml")]
    resources = [each for text in texts for each in yaml.safe_load_all(text) if each]
    lint = helm_python.lint(path, values, strict=True, namespace=NAMES["namespace"])
    return {
        "error": None,
        "lint": [each for each in lint["messages"] if each["severity"] > 1] + lint["errors"],
        "notes": notes,
        "resources": resources,
        "schemas": schemas(resources),
        "policies": policies(resources),
    }


def main() -> None:
    sets = json.load(sys.stdin)
    with helm_python.Chart.load(sys.argv[1]) as chart:
        found = {name: inspect(chart, sys.argv[1], values) for name, values in sets.items()}
        defaults = chart.values
    print(json.dumps({"sets": found, "defaults": defaults, "helm": helm_python.helm_sdk_version()}))


if __name__ == "__main__":
    main()
