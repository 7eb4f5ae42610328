"""The Terraform files: formatted, checked without a network, and of the same shape as the AWS side."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from deployments.cloud.shape import Shape, read_shape
from tests.deployments.cloud.conftest import Tools
from tests.deployments.stack import ROOT

FOLDER = ROOT / "deployments/cloud/gcp"
PARSE = """
import hcl2, json, pathlib, sys
print(json.dumps({path.stem: hcl2.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.tf")}))
"""
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shape() -> Shape:
    return read_shape()


@pytest.fixture(scope="module")
def files(tools: Tools) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tools.run("python", "-c", PARSE, FOLDER).stdout)
    return found


def resources(files: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the resources of a kind by their names."""
    return {
        name: body
        for content in files.values()
        for block in content.get("resource", [])
        for name, body in block.get(kind, {}).items()
    }


def one(value: Any) -> Any:
    """Return a value that the parser may have put into a list."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def local(files: dict[str, Any], name: str) -> Any:
    (found,) = (one(block[name]) for block in files["main"]["locals"] if name in block)
    return found


def test_the_first_line_says_that_it_was_not_tried() -> None:
    assert (FOLDER / "main.tf").read_text().startswith("# Not tried on the real cloud")


def test_files_are_formatted() -> None:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", FOLDER],
        env=os.environ | {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_checkov_finds_nothing_that_is_not_accepted(tools: Tools) -> None:
    options = ("--framework", "terraform", "--compact", "--skip-download", "--output", "json")
    report = json.loads(tools.run("checkov", "--directory", FOLDER, *options, check=False).stdout)
    assert report["results"]["failed_checks"] == []
    assert report["summary"]["passed"] >= 40
    skipped = {(check["check_id"], check["resource"]) for check in report["results"]["skipped_checks"]}
    assert skipped == {
        ("CKV_GCP_62", "google_storage_bucket.logs"),
        ("CKV_GCP_38", "google_compute_instance.machine"),
    }
    assert all(
        len(check["check_result"]["suppress_comment"].split()) >= 5 for check in report["results"]["skipped_checks"]
    )


def test_names_and_regions_are_those_of_the_other_cloud(files: dict[str, Any], shape: Shape) -> None:
    assert local(files, "project") == shape.project
    assert local(files, "release") == shape.release
    (region,) = (block["region"] for block in files["variables"]["variable"] if "region" in block)
    assert one(region["default"]) == shape.regions["gcp"]
    buckets = resources(files, "google_storage_bucket")
    assert set(buckets) == {"kept", "logs"}
    assert set(names_of(buckets["kept"]["for_each"])) == set(shape.buckets)
    machine = resources(files, "google_compute_instance")["machine"]
    assert one(machine["machine_type"]) == shape.machine["gcp"]
    assert str(shape.machine["disk_gb"]) in json.dumps(machine["boot_disk"])
    budget = json.dumps(resources(files, "google_billing_budget"))
    assert f'"{shape.budget_usd}"' in budget


def test_roles_are_those_of_the_other_cloud(files: dict[str, Any], shape: Shape) -> None:
    roles = local(files, "roles")
    found = {name: (dict(one(role["buckets"]) or {}), set(role["secrets"])) for name, role in roles.items()}
    assert found == {name: (role.buckets, set(role.secrets)) for name, role in shape.roles.items()}
    assert set(shape.secrets) == set(names_of(local(files, "secrets")))
    assert local(files, "access") == {"read": "roles/storage.objectViewer", "write": "roles/storage.objectUser"}
    granted = [*resources(files, "google_project_iam_member"), *resources(files, "google_project_iam_binding")]
    assert granted == [], "no role of the whole project"


def names_of(expression: Any) -> list[str]:
    """Return the names in ``toset([…])``."""
    return str(one(expression)).split("'")[1::2]


def test_the_service_is_as_large_as_on_the_other_cloud(files: dict[str, Any], shape: Shape) -> None:
    template = json.dumps(resources(files, "google_cloud_run_v2_service")["serving"]).replace("\\", "")
    for wanted in (
        f'"cpu": "{shape.serving.cpu}", "memory": "{shape.serving.memory_mb}Mi"',
        f'"min_instance_count": [{shape.serving.least}]',
        f'"max_instance_count": [{shape.serving.most}]',
    ):
        assert wanted in template, template


def test_everybody_reaches_the_service_which_asks_for_its_key(files: dict[str, Any]) -> None:
    (member,) = resources(files, "google_cloud_run_v2_service_iam_member").values()
    assert (one(member["role"]), one(member["member"])) == ("roles/run.invoker", "allUsers")
    assert "google_cloud_run_v2_service.serving" in str(member["name"])


def test_the_service_is_made_once_its_image_is_named(files: dict[str, Any]) -> None:
    """Before the first champion no replica is ready, and the service would fail."""
    service = resources(files, "google_cloud_run_v2_service")["serving"]
    assert str(one(service["count"])).strip("${}") == 'var.image == "" ? 0 : 1'
    (image,) = (block["image"] for block in files["variables"]["variable"] if "image" in block)
    assert one(image["default"]) == ""
    commands = [
        line for line in (ROOT / "docs/cloud.md").read_text().splitlines() if line.startswith("terraform apply")
    ]
    assert ["-var image=" in command for command in commands] == [False, False, True]


def test_what_a_new_project_has_off_is_put_on_first(files: dict[str, Any]) -> None:
    """Each resource needs one of these, by itself or through another."""
    used = resources(files, "google_project_service")["used"]
    named = set(names_of(used["for_each"]))
    assert {
        f"{name}.googleapis.com" for name in ("run", "compute", "secretmanager", "cloudkms", "iam", "billingbudgets")
    } <= named
    for kind in (
        "google_cloud_run_v2_service", "google_compute_network", "google_kms_key_ring", "google_secret_manager_secret",
        "google_service_account", "google_billing_budget",
    ):  # fmt: skip
        (body,) = resources(files, kind).values()
        assert "google_project_service.used" in str(body["depends_on"]), kind


def test_the_service_gets_its_secrets_and_no_other(files: dict[str, Any], shape: Shape) -> None:
    template = resources(files, "google_cloud_run_v2_service")["serving"]
    (block,) = (
        one(one(part["dynamic"])["env"]["for_each"])
        for part in one(template["template"])["containers"]
        if "dynamic" in part
    )
    assert set(block.values()) == set(shape.roles["serving"].secrets)


def test_what_the_machine_boots_is_found_in_the_file(files: dict[str, Any]) -> None:
    """Terraform's replace() says nothing where it finds nothing."""
    text = (ROOT / "deployments/cloud/cloud-init.yaml").read_text()
    source = (FOLDER / "machine.tf").read_text()
    for wanted in (
        "'https://github.com/EXAMPLE/pneumonia.git'",
        "/RELEASE='[^']*'/",
        "SECRETS_FROM=''",
        "      # settings of this machine",
    ):
        assert f'"{wanted}"' in source
        assert len(re.findall(wanted.strip("/"), text)) == 1
