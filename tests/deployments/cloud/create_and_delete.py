"""Create the AWS stacks on moto's server through CloudFormation, look at what is there, delete them; print it as JSON.

    .venv-delivery/bin/python create_and_delete.py FOLDER

FOLDER holds the templates. Types that moto's CloudFormation does not know are taken out first, and named; secrets
are made directly, because the other stacks refer to them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

ORDER = ("network", "storage", "database", "machine", "training", "serving", "budget")
REGION = "eu-central-1"
ROOT = Path(__file__).parents[3]
UNKNOWN = {
    "AWS::SecretsManager::Secret",
    "AWS::Budgets::Budget",
    "AWS::S3::BucketPolicy",
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
}


class Cloud:
    """moto's server, and clients of it."""

    def __init__(self) -> None:
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.url = f"http://{host}:{port}"

    def client(self, service: str) -> Any:
        login = {"aws_access_key_id": "one", "aws_secret_access_key": "two"}
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **login)


def replaced(node: Any, references: dict[str, Any], attributes: dict[str, Any]) -> Any:
    """Return a template's part with references to these resources, and to their attributes, replaced."""
    if isinstance(node, dict):
        if set(node) == {"Ref"} and node["Ref"] in references:
            return references[node["Ref"]]
        if node.get("Fn::GetAtt", [""])[0] in attributes:
            return attributes[node["Fn::GetAtt"][0]]
        return {name: replaced(one, references, attributes) for name, one in node.items()}
    return [replaced(one, references, attributes) for one in node] if isinstance(node, list) else node


def known(cloud: Cloud, template: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the template without what moto does not know, and the types that were taken out.

    moto gives no attribute of a file system or of Batch's parts to other resources, wants a service role where AWS has
    one of its own for Batch, and knows the kind of an environment in capitals alone.
    """
    references, attributes = {}, {}
    left = {name: one for name, one in template["Resources"].items() if one["Type"] not in UNKNOWN}
    for name, one in template["Resources"].items():
        kind, properties = one["Type"], one["Properties"]
        if kind == "AWS::SecretsManager::Secret":
            made = cloud.client("secretsmanager").create_secret(Name=properties["Name"], SecretString="drawn")
            references[name] = made["ARN"]
        elif kind == "AWS::EFS::FileSystem":
            attributes[name] = f"arn:aws:elasticfilesystem:{REGION}:123456789012:file-system/one"
        elif kind == "AWS::Batch::ComputeEnvironment":
            role = cloud.client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]
            properties |= {"ServiceRole": role["Arn"], "Type": properties["Type"].upper()}
            attributes[name] = {"Ref": name}
        needs = one.get("DependsOn", [])
        one["DependsOn"] = [other for other in ([needs] if isinstance(needs, str) else needs) if other in left]
    found = replaced(template | {"Resources": left}, references, attributes)
    return found, sorted({one["Type"] for one in template["Resources"].values()} & UNKNOWN)


def create(cloud: Cloud, name: str, template: dict[str, Any]) -> dict[str, Any]:
    """Create a stack; return its status, the resources that came about, and what was left out."""
    parameters = template.get("Parameters", {})
    values = {}
    for key in parameters:
        if key == "CertificateArn":
            asked = cloud.client("acm").request_certificate(DomainName="radiographs.example.org")
            values[key] = asked["CertificateArn"]
        if key.startswith("SsmParameterValue"):
            cloud.client("ssm").put_parameter(Name="/an/image", Value=an_image(cloud), Type="String", Overwrite=True)
            values[key] = "/an/image"
            del parameters[key]["Default"]  # AWS' own parameter, which moto has not
    template, left_out = known(cloud, template)
    if not template["Resources"]:
        return {"status": "not tried", "resources": {}, "missing": [], "left_out": left_out}
    formation = cloud.client("cloudformation")
    formation.create_stack(
        StackName=f"pneumonia-{name}",
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    status = formation.describe_stacks(StackName=f"pneumonia-{name}")["Stacks"][0]["StackStatus"]
    found = formation.describe_stack_resources(StackName=f"pneumonia-{name}")["StackResources"]
    there = {one["LogicalResourceId"] for one in found}
    types = [one["ResourceType"] for one in found]
    missing = sorted({one["Type"] for key, one in template["Resources"].items() if key not in there})
    counted = {kind: types.count(kind) for kind in sorted(set(types))}
    return {"status": status, "resources": counted, "missing": missing, "left_out": left_out}


def delete(cloud: Cloud, name: str) -> None:
    """Delete a stack; moto leaves route tables, which are then in the way of their network."""
    try:
        cloud.client("cloudformation").delete_stack(StackName=f"pneumonia-{name}")
    except ClientError as error:
        if name != "network" or error.response["Error"]["Code"] != "DependencyViolation":
            raise
        ec2 = cloud.client("ec2")
        (network,) = (one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"] if not one["IsDefault"])
        for table in ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [network]}])["RouteTables"]:
            if not any(one.get("Main") for one in table["Associations"]):
                ec2.delete_route_table(RouteTableId=table["RouteTableId"])
        ec2.delete_vpc(VpcId=network)


def an_image(cloud: Cloud) -> str:
    return str(cloud.client("ec2").describe_images()["Images"][0]["ImageId"])


def there(cloud: Cloud) -> dict[str, Any]:
    """Return what the services themselves say is there."""
    buckets = [one["Name"] for one in cloud.client("s3").list_buckets()["Buckets"]]
    encrypted = {}
    for bucket in buckets:
        rule = cloud.client("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
        encrypted[bucket] = rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]
    databases = cloud.client("rds").describe_db_instances()["DBInstances"]
    machines = cloud.client("ec2").describe_instances()["Reservations"]
    return {
        "buckets": encrypted,
        "networks": [one["CidrBlock"] for one in cloud.client("ec2").describe_vpcs()["Vpcs"] if not one["IsDefault"]],
        "databases": {one["DBInstanceClass"]: [one["StorageEncrypted"], one["MultiAZ"]] for one in databases},
        "roles": sorted(one["RoleName"] for one in cloud.client("iam").list_roles()["Roles"]),
        "machines": [
            one["InstanceType"] for group in machines for one in group["Instances"] if one["State"]["Name"] == "running"
        ],
    }


def fetched(cloud: Cloud) -> list[str]:
    """Return the names of the variables that a new machine gets from the secrets."""
    names = [one["Name"] for one in cloud.client("secretsmanager").list_secrets()["SecretList"]]
    done = subprocess.run(
        [sys.executable, ROOT / "deployments/cloud/fetch_secrets.py", "aws", REGION, *names],
        env={"AWS_ENDPOINT_URL": cloud.url, "AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    return [line.removesuffix("=drawn") for line in done.stdout.splitlines()]


def main(folder: Path) -> None:
    cloud = Cloud()
    try:
        templates = {name: json.loads((folder / f"{name}.template.json").read_text()) for name in ORDER}
        created = {name: create(cloud, name, templates[name]) for name in ORDER}
        found = there(cloud) | {"env": fetched(cloud)}
        for name in reversed([name for name in ORDER if created[name]["status"] != "not tried"]):
            delete(cloud, name)
        print(json.dumps({"created": created, "there": found, "after": there(cloud)}))
    finally:
        cloud.server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
