"""The machine: one instance that boots the Compose stack from the same cloud-init file that a person would paste."""

from __future__ import annotations

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from deployments.cloud.aws.nag import accept
from deployments.cloud.aws.network import Network
from deployments.cloud.aws.storage import Storage
from deployments.cloud.cloud_init import render
from deployments.cloud.shape import Shape

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


class Machine(Stack):
    """MLflow, Airflow and what watches them; people reach it by Session Manager, the service on MLflow's port.

    Attributes:
        instance: the machine.
        mlflow: MLflow's address within the network.
    """

    def __init__(
        self, scope: Construct, shape: Shape, network: Network, storage: Storage, database: str, **stack: object
    ) -> None:
        """Create the machine and its role; `database` is the database's host."""
        super().__init__(scope, "machine", stack_name=shape.name("machine"), **stack)
        self.role = iam.Role(
            self,
            "role",
            role_name=shape.name("machine"),
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("AmazonSSMManagedInstanceCore")],
        )
        accept(
            self.role,
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonSSMManagedInstanceCore]",
            "AWS' own list of what Session Manager's agent needs, which it keeps up to date.",
        )
        storage.allow(self.role, "machine")
        settings = {
            "COMPOSE_FILE": "docker-compose.yml:deployments/compose.managed.yml",
            "DATABASE_HOST": database,
            "ARTIFACTS_DESTINATION": f"s3://{storage.buckets['artifacts'].bucket_name}",
            "DVC_REMOTE_URL": f"s3://{storage.buckets['data'].bucket_name}",
        }
        source = f"aws {shape.regions['aws']} {' '.join(map(shape.name, shape.roles['machine'].secrets))}"
        text = render(shape.repository, shape.release, source, settings)
        self.instance = ec2.Instance(
            self,
            "instance",
            instance_name=shape.name("machine"),
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            instance_type=ec2.InstanceType(shape.machine["aws"]),
            machine_image=ec2.MachineImage.from_ssm_parameter(UBUNTU),
            security_group=network.groups["machine"],
            role=self.role,
            user_data=ec2.UserData.custom(text),
            http_tokens=ec2.HttpTokens.REQUIRED,
            http_put_response_hop_limit=2,  # the containers ask for the role too
            detailed_monitoring=True,
            block_devices=[self._disk(shape)],
        )
        self.instance.instance.add_property_override("DisableApiTermination", True)
        accept(self.instance, "AwsSolutions-EC29", "Protected from termination by the property override above.")
        self.mlflow = f"http://{self.instance.instance_private_ip}:5000"
        CfnOutput(self, "mlflow", value=self.mlflow, description="MLflow, within the network")

    @staticmethod
    def _disk(shape: Shape) -> ec2.BlockDevice:
        volume = ec2.BlockDeviceVolume.ebs(
            shape.machine["disk_gb"], encrypted=True, volume_type=ec2.EbsDeviceVolumeType.GP3
        )
        return ec2.BlockDevice(device_name="/dev/sda1", volume=volume)
