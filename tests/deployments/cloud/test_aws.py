"""The AWS stacks: their templates, what the checkers find, and how they are created and deleted on moto's server."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.cloud.shape import Shape, read_shape
from tests.deployments.cloud.conftest import Tools
from tests.deployments.stack import ROOT

pytestmark = pytest.mark.integration
STACKS = {"network", "storage", "database", "machine", "serving", "training", "budget"}
ACCEPTED = {
    ("database", "AwsSolutions-RDS10"),
    ("database", "AwsSolutions-RDS11"),
    ("machine", "AwsSolutions-EC29"),
    ("machine", "AwsSolutions-IAM4"),
    ("machine", "AwsSolutions-IAM5"),
    ("network", "AwsSolutions-EC23"),
    ("serving", "AwsSolutions-ECS2"),
    ("serving", "AwsSolutions-IAM5"),
    ("storage", "AwsSolutions-S1"),
    ("storage", "AwsSolutions-SMG4"),
    ("training", "AwsSolutions-IAM4"),
    ("training", "AwsSolutions-IAM5"),
}
"""Rules of cdk-nag with an accepted finding, by stack."""


@pytest.fixture(scope="module")
def shape() -> Shape:
    return read_shape()


def of(templates: dict[str, Any], stack: str, kind: str) -> list[dict[str, Any]]:
    return [one["Properties"] for one in templates[stack]["Resources"].values() if one["Type"] == kind]


def test_every_stack_has_a_template_that_cfn_lint_accepts(tools: Tools, assembly: Path) -> None:
    found = sorted(assembly.glob("*.template.json"))
    assert {path.name.partition(".")[0] for path in found} == STACKS
    # W3005: CDK itself writes a dependency beside the reference that implies it
    tools.run("cfn-lint", "--ignore-checks", "W3005", "--", *found)


def test_what_cdk_nag_finds_is_accepted_with_a_reason(assembly: Path) -> None:
    """A finding that is not accepted would have ended the synthesis; what is accepted stands beside the templates."""
    accepted = {
        (path.name.partition(".")[0], rule.partition("::")[2].partition("[")[0], reason)
        for path in assembly.glob("*.metadata.json")
        for entries in json.loads(path.read_text()).values()
        for entry in entries
        if entry["type"] == "aws:cdk:acknowledged-rules"
        for rule, reason in entry["data"].items()
        if "::AwsSolutions-" in rule
    }
    assert {(stack, rule) for stack, rule, _ in accepted} == ACCEPTED
    assert all(len(reason.split()) >= 4 for _, _, reason in accepted)


@pytest.mark.nightly
def test_cdk_nag_ends_the_synthesis_where_something_is_not_accepted(tools: Tools, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from aws_cdk import aws_s3; from deployments.cloud.aws import app\n"
        f"made = app.build(app.read_shape(), Path({str(tmp_path)!r}), True)\n"
        "aws_s3.Bucket(made.node.find_child('storage'), 'open')\n"
        "made.synth()"
    )
    done = tools.run("python", "-c", code, check=False)
    assert done.returncode == 1
    assert "validation-report.json" in done.stderr
    assert "AwsSolutions-S10" in (tmp_path / "validation-report.json").read_text()


def test_roles_get_what_the_shape_lists_and_nothing_else(templates: dict[str, Any], shape: Shape) -> None:
    exports = secrets_by_export(templates["storage"])
    for stack, name in (("machine", "machine"), ("training", "training"), ("serving", "serving")):
        buckets: dict[str, str] = {}
        secrets: set[str] = set()
        for policy in of(templates, stack, "AWS::IAM::Policy"):
            for statement in policy["PolicyDocument"]["Statement"]:
                actions, place = str(statement["Action"]), json.dumps(statement["Resource"])
                assert statement["Effect"] == "Allow"
                assert '"*"' not in actions
                for bucket in (one for one in shape.buckets if f"{shape.name(one)}-" in place):
                    buckets[bucket] = "write" if "s3:PutObject" in actions else "read"
                if "secretsmanager:GetSecretValue" in actions:
                    secrets |= {secret for export, secret in exports.items() if export in place}
        assert (buckets, secrets) == (shape.roles[name].buckets, set(shape.roles[name].secrets)), name


def secrets_by_export(storage: dict[str, Any]) -> dict[str, str]:
    """Return the variables' names of the secrets by the exports that other stacks import."""
    names = {key: one["Properties"]["Name"].partition("-")[2] for key, one in storage["Resources"].items()
             if one["Type"] == "AWS::SecretsManager::Secret"}  # fmt: skip
    return {
        one["Export"]["Name"]: names[one["Value"]["Ref"]]
        for one in storage["Outputs"].values()
        if one["Value"].get("Ref") in names
    }


def test_buckets_are_private_encrypted_versioned_and_take_tls_alone(templates: dict[str, Any], shape: Shape) -> None:
    buckets = of(templates, "storage", "AWS::S3::Bucket")
    assert len(buckets) == len(shape.buckets) + 1
    for bucket in buckets:
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["BucketEncryption"]
        assert bucket["LifecycleConfiguration"]["Rules"]
    assert sum("VersioningConfiguration" in bucket for bucket in buckets) == len(shape.buckets)
    policies = of(templates, "storage", "AWS::S3::BucketPolicy")
    denied = [json.dumps(policy["PolicyDocument"]) for policy in policies]
    assert len(policies) == len(buckets)
    assert all('"aws:SecureTransport": "false"' in one and "s3:TlsVersion" in one for one in denied)


def test_the_database_is_private_encrypted_and_backed_up(templates: dict[str, Any], shape: Shape) -> None:
    (database,) = of(templates, "database", "AWS::RDS::DBInstance")
    assert (database["PubliclyAccessible"], database["StorageEncrypted"], database["MultiAZ"]) == (False, True, True)
    assert database["BackupRetentionPeriod"] == shape.database["backup_days"]


def test_only_the_balancer_is_open_to_everybody(templates: dict[str, Any]) -> None:
    groups = of(templates, "network", "AWS::EC2::SecurityGroup")
    open_ = {
        (group["GroupDescription"], rule["FromPort"])
        for group in groups
        for rule in group.get("SecurityGroupIngress", [])
        if rule.get("CidrIp") == "0.0.0.0/0"
    }
    assert open_ == {("of balancer", 443), ("of balancer", 80)}
    assert not any(subnet["MapPublicIpOnLaunch"] for subnet in of(templates, "network", "AWS::EC2::Subnet"))


def test_the_machine_boots_the_file_that_a_person_would_paste(templates: dict[str, Any], shape: Shape) -> None:
    (machine,) = of(templates, "machine", "AWS::EC2::Instance")
    parts = machine["UserData"]["Fn::Base64"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else "FILLED-IN" for part in parts)
    booted, pasted = (yaml.safe_load(one) for one in (text, (ROOT / "deployments/cloud/cloud-init.yaml").read_text()))
    assert booted["runcmd"] == pasted["runcmd"]
    files, before = ({one["path"]: one["content"] for one in each["write_files"]} for each in (booted, pasted))
    assert files["/usr/local/sbin/pneumonia-start"] == before["/usr/local/sbin/pneumonia-start"]
    assert f"RELEASE='{shape.release}'" in files["/etc/pneumonia/release"]
    assert "pneumonia-POSTGRES_PASSWORD" in files["/etc/pneumonia/release"]
    assert "\nDATABASE_HOST=FILLED-IN\n" in files["/etc/pneumonia/settings"]


def named(task: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (one for one in task["ContainerDefinitions"] if one["Name"] == name)
    return found


def test_the_images_user_can_write_to_every_volume(templates: dict[str, Any]) -> None:
    """Fargate's volumes, and the folder of a file system, are root's."""
    user = "1000"
    assert f"USER {user}:{user}" in (ROOT / "deployments/Dockerfile").read_text()
    (task,) = of(templates, "serving", "AWS::ECS::TaskDefinition")
    serving, owner = named(task, "serving"), named(task, "owner")
    paths = [mount["ContainerPath"] for mount in serving["MountPoints"]]
    assert len(paths) == len(task["Volumes"]) == 3
    assert owner["MountPoints"] == serving["MountPoints"]
    assert (owner["User"], owner["Essential"]) == ("0", False)
    assert owner["Command"] == ["chown", f"{user}:{user}", *paths]
    assert serving["DependsOn"] == [{"Condition": "SUCCESS", "ContainerName": "owner"}]
    (place,) = of(templates, "training", "AWS::EFS::AccessPoint")
    assert place["PosixUser"] == {"Uid": user, "Gid": user}
    assert place["RootDirectory"]["CreationInfo"] == {"OwnerUid": user, "OwnerGid": user, "Permissions": "750"}
    (job,) = of(templates, "training", "AWS::Batch::JobDefinition")
    (volume,) = job["ContainerProperties"]["Volumes"]
    assert volume["EfsVolumeConfiguration"]["AuthorizationConfig"]["AccessPointId"]["Ref"].startswith("workplace")
    # a tmpfs would be root's: the image's own folder, which is the user's, takes its place
    assert "Tmpfs" not in json.dumps(job)
    made = r"install -d -o pneumonia -g pneumonia [^&]*\s/srv/pneumonia\s"
    assert re.search(made, (ROOT / "deployments/Dockerfile").read_text())


def test_the_service_comes_after_the_training_that_makes_its_first_champion(assembly: Path) -> None:
    """ECS waits until replicas are ready, and takes a stack back where none becomes it."""
    made = json.loads((assembly / "manifest.json").read_text())["artifacts"]
    assert "training" in made["serving"]["dependencies"]
    page = (ROOT / "docs/cloud.md").read_text()
    places = [
        page.find(step)
        for step in ("\n| `training` |", "\n| `serving` |", "submit-job", "--stack-name pneumonia-serving")
    ]
    assert -1 not in places
    assert places == sorted(places)


def test_an_upgrade_names_the_tag_of_both_images(templates: dict[str, Any], shape: Shape) -> None:
    for stack in ("serving", "training"):
        assert templates[stack]["Parameters"]["Release"]["Default"] == shape.release
        assert '{"Ref": "Release"}' in json.dumps(templates[stack]["Resources"])


def test_an_upgrade_of_the_service_starts_new_replicas_first(templates: dict[str, Any], shape: Shape) -> None:
    (service,) = of(templates, "serving", "AWS::ECS::Service")
    deployment = service["DeploymentConfiguration"]
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert service["DesiredCount"] == shape.serving.least
    (task,) = of(templates, "serving", "AWS::ECS::TaskDefinition")
    assert all(one["ReadonlyRootFilesystem"] for one in task["ContainerDefinitions"])
    container = named(task, "serving")
    assert not any(word in json.dumps(container["Environment"]) for word in ("PASSWORD", "_KEY"))


def test_replicas_and_trainings_have_one_key_of_the_pseudonyms(templates: dict[str, Any]) -> None:
    """Without it each replica makes its own, and one reader is two, who settle a label together."""
    (made,) = (
        one["GenerateSecretString"]
        for one in of(templates, "storage", "AWS::SecretsManager::Secret")
        if one["Name"].endswith("-PNEUMONIA_PATIENT_KEY")
    )
    left = set(string.ascii_lowercase + string.digits) - set(made["ExcludeCharacters"])
    assert (made["PasswordLength"], made["ExcludeUppercase"], left) == (64, True, set(string.hexdigits.lower()))
    (task,) = of(templates, "serving", "AWS::ECS::TaskDefinition")
    (job,) = of(templates, "training", "AWS::Batch::JobDefinition")
    for container in (named(task, "serving"), job["ContainerProperties"]):
        assert "PNEUMONIA_PATIENT_KEY" in {one["Name"] for one in container["Secrets"]}


def test_trainings_run_on_machines_that_may_be_taken_away_and_are_tried_again(templates: dict[str, Any]) -> None:
    (machines,) = of(templates, "training", "AWS::Batch::ComputeEnvironment")
    assert (machines["ComputeResources"]["Type"], machines["ComputeResources"]["MinvCpus"]) == ("SPOT", 0)
    (job,) = of(templates, "training", "AWS::Batch::JobDefinition")
    assert [one["Action"] for one in job["RetryStrategy"]["EvaluateOnExit"]] == ["RETRY", "EXIT"]
    assert job["ContainerProperties"]["MountPoints"][0]["ContainerPath"] == "/var/lib/pneumonia"


def test_stacks_are_created_and_deleted_on_motos_server(tools: Tools, assembly: Path, shape: Shape) -> None:
    done = tools.run("python", "-W", "ignore", Path(__file__).with_name("create_and_delete.py"), assembly)
    found = json.loads(done.stdout)
    created = found["created"]
    assert {name for name, one in created.items() if one["status"] != "CREATE_COMPLETE"} == {"budget"}
    assert {name: one["missing"] for name, one in created.items() if one["missing"]} == {}
    assert created["budget"]["left_out"] == ["AWS::Budgets::Budget"], "moto's CloudFormation knows no budget"
    there, after = found["there"], found["after"]
    wanted = {f"{shape.name(name)}-123456789012" for name in [*shape.buckets, "logs"]}
    assert set(there["buckets"]) == wanted
    assert there["networks"] == ["10.20.0.0/16"]
    assert there["databases"] == {f"db.{shape.database['aws']}": [True, True]}
    assert {shape.name(role) for role in shape.roles} <= set(there["roles"])
    assert sorted(there["env"]) == sorted(shape.secrets)
    assert there["machines"] == [shape.machine["aws"]]
    assert after == {"buckets": {}, "networks": [], "databases": {}, "roles": ["batch"], "machines": []}


@pytest.mark.nightly
def test_what_is_kept_outlives_its_stack_where_it_is_no_trial(tools: Tools, tmp_path: Path) -> None:
    tools.run("python", "-m", "deployments.cloud.aws.app", "--out", tmp_path)
    kept = {
        one["Type"]
        for path in tmp_path.glob("*.template.json")
        for one in json.loads(path.read_text())["Resources"].values()
        if one.get("DeletionPolicy") in ("Retain", "RetainExceptOnCreate")
    }
    assert kept >= {"AWS::S3::Bucket", "AWS::RDS::DBInstance", "AWS::EFS::FileSystem", "AWS::SecretsManager::Secret"}
    database = json.loads((tmp_path / "database.template.json").read_text())["Resources"].values()
    assert [one["Properties"]["DeletionProtection"] for one in database if one["Type"] == "AWS::RDS::DBInstance"] == [
        True
    ]
