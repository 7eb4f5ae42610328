"""Trainings on spot machines: a job is the pipeline's steps; what it leaves is on a file system, so that it resumes."""

from __future__ import annotations

from aws_cdk import CfnParameter, Duration, RemovalPolicy, Size, Stack
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_efs as efs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from deployments.cloud.aws.nag import accept
from deployments.cloud.aws.network import Network
from deployments.cloud.aws.storage import PATIENT_KEY, Storage
from deployments.cloud.shape import Shape

WORK = "/var/lib/pneumonia"
OWNER = "1000"
"""The image's user; a file system's own folder is root's."""
SPOT_ENDED = "Host EC2*"
"""How AWS Batch's reason begins where a spot machine was taken away."""


class Training(Stack):
    """A queue, and a job that pulls the recorded radiographs and takes them to a promotion.

    Attributes:
        role: what a job may do.
        queue: where jobs wait for a machine.
        job: the job's definition.
    """

    def __init__(
        self, scope: Construct, shape: Shape, network: Network, storage: Storage, mlflow: str, removal: RemovalPolicy,
        **stack: object,
    ) -> None:  # fmt: skip
        """Create the queue and the job; `mlflow` is the URL of MLflow within the network."""
        super().__init__(scope, "training", stack_name=shape.name("training"), **stack)
        self.shape, self.network, self.storage = shape, network, storage
        self.role = iam.Role(
            self,
            "role",
            role_name=shape.name("training"),
            assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
        )
        storage.allow(self.role, "training")
        self.files = efs.FileSystem(
            self,
            "work",
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            encrypted=True,
            enable_automatic_backups=True,
            lifecycle_policy=efs.LifecyclePolicy.AFTER_30_DAYS,
            removal_policy=removal,
        )
        self.files.connections.allow_default_port_from(network.groups["training"])
        self.place = self.files.add_access_point(
            "place",
            path="/work",
            create_acl=efs.Acl(owner_uid=OWNER, owner_gid=OWNER, permissions="750"),
            posix_user=efs.PosixUser(uid=OWNER, gid=OWNER),
        )
        machines = batch.ManagedEc2EcsComputeEnvironment(
            self,
            "spot",
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            security_groups=[network.groups["training"]],
            spot=True,
            instance_types=[ec2.InstanceType(kind) for kind in ("m7i.xlarge", "m7a.xlarge", "m7i.2xlarge")],
            use_optimal_instance_classes=False,
            minv_cpus=0,
            maxv_cpus=shape.training.most_cpus,
        )
        self.queue = batch.JobQueue(self, "queue", job_queue_name=shape.name("training"))
        self.queue.add_compute_environment(machines, 1)
        self.job = self._job(mlflow)
        self._acknowledge(machines)

    def _job(self, mlflow: str) -> batch.EcsJobDefinition:
        """Describe the job: tried again where its machine was taken away, and only there."""
        size = self.shape.training
        version = CfnParameter(self, "Release", default=self.shape.release, description="tag of the image")
        volume = batch.EcsVolume.efs(
            name="work",
            file_system=self.files,
            container_path=WORK,
            access_point_id=self.place.access_point_id,
            enable_transit_encryption=True,
            use_job_role=True,
        )
        container = batch.EcsEc2ContainerDefinition(
            self,
            "container",
            image=ecs.ContainerImage.from_ecr_repository(self.storage.images["airflow"], version.value_as_string),
            cpu=size.cpus,
            memory=Size.mebibytes(size.memory_mb),
            command=["/opt/stack/train.sh", "--profile", "full"],
            job_role=self.role,
            execution_role=self.role,
            environment={
                "MLFLOW_TRACKING_URI": mlflow,
                "MLFLOW_TRACKING_USERNAME": "pipeline",
                "DVC_REMOTE_URL": f"s3://{self.storage.buckets['data'].bucket_name}",
                "PNEUMONIA_WORK": WORK,
            },
            secrets={
                "MLFLOW_TRACKING_PASSWORD": batch.Secret.from_secrets_manager(
                    self.storage.secrets["MLFLOW_PIPELINE_PASSWORD"]
                ),
                PATIENT_KEY: batch.Secret.from_secrets_manager(self.storage.secrets[PATIENT_KEY]),
            },
            volumes=[volume],
            logging=ecs.LogDrivers.aws_logs(
                stream_prefix="training", log_group=logs.LogGroup(self, "log", retention=logs.RetentionDays.ONE_YEAR)
            ),
        )
        self.files.grant_read_write(self.role)
        retry = [
            batch.RetryStrategy.of(batch.Action.RETRY, batch.Reason.custom(on_status_reason=SPOT_ENDED)),
            batch.RetryStrategy.of(batch.Action.EXIT, batch.Reason.custom(on_reason="*")),
        ]
        return batch.EcsJobDefinition(
            self,
            "job",
            job_definition_name=self.shape.name("training"),
            container=container,
            retry_attempts=size.attempts,
            retry_strategies=retry,
            timeout=Duration.hours(24),
        )

    def _acknowledge(self, machines: batch.ManagedEc2EcsComputeEnvironment) -> None:
        accept(self.role, "AwsSolutions-IAM5[Resource::*]", "ecr:GetAuthorizationToken knows no resource.")
        policy = "service-role/AmazonEC2ContainerServiceforEC2Role"
        accept(
            machines.node.find_child("InstanceProfileRole"),
            f"AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{policy}]",
            "AWS' own list of what the agent on a cluster's machine needs, which it keeps up to date.",
        )
