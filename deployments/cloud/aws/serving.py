"""The service behind a balancer: replicas on Fargate, that follow the champion which MLflow names."""

from __future__ import annotations

from aws_cdk import CfnOutput, CfnParameter, Duration, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from deployments.cloud.aws.nag import accept
from deployments.cloud.aws.network import SERVICE_PORT, Network
from deployments.cloud.aws.storage import Storage
from deployments.cloud.shape import Shape

HEALTH = f"import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', {SERVICE_PORT}, timeout=5); \
c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"
WRITABLE = {"tmp": "/tmp", "work": "/var/lib/pneumonia", "spool": "/var/lib/monitoring"}  # noqa: S108 - in the container
OWNER = "1000"
"""The image's user; Fargate makes a volume root's own, with 0755."""
BUSY_PERCENT = 60


class Serving(Stack):
    """A balancer that speaks TLS, and two replicas or more in two zones.

    Attributes:
        role: what a replica may do.
        service: the replicas.
    """

    def __init__(
        self,
        scope: Construct,
        shape: Shape,
        network: Network,
        storage: Storage,
        addresses: dict[str, str],
        **stack: object,
    ) -> None:
        """Create the service.

        Args:
            addresses: `mlflow`, its URL, and `database`, its host, both within the network.
        """
        super().__init__(scope, "serving", stack_name=shape.name("serving"), **stack)
        self.shape, self.network, self.storage = shape, network, storage
        self.role = iam.Role(
            self,
            "role",
            role_name=shape.name("serving"),
            assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
        )
        cluster = ecs.Cluster(self, "cluster", vpc=network.vpc, container_insights_v2=ecs.ContainerInsights.ENABLED)
        self.service = ecs.FargateService(
            self,
            "service",
            service_name=shape.name("serving"),
            cluster=cluster,
            task_definition=self._task(addresses),
            desired_count=shape.serving.least,
            # an upgrade starts new replicas before it ends old ones, and is taken back where they do not become ready
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
            health_check_grace_period=Duration.seconds(60),
            security_groups=[network.groups["serving"]],
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
        )
        scaling = self.service.auto_scale_task_count(min_capacity=shape.serving.least, max_capacity=shape.serving.most)
        scaling.scale_on_cpu_utilization("busy", target_utilization_percent=BUSY_PERCENT)
        self._balance()

    def _task(self, addresses: dict[str, str]) -> ecs.FargateTaskDefinition:
        """Describe a replica: the image, read-only but for three folders, its settings, its secrets by reference."""
        size = self.shape.serving
        task = ecs.FargateTaskDefinition(
            self,
            "task",
            cpu=1024 * size.cpu,
            memory_limit_mib=size.memory_mb,
            execution_role=self.role,
            task_role=self.role,
        )
        version = CfnParameter(self, "Release", default=self.shape.release, description="tag of the image")
        wanted = {name: self.storage.secrets[name] for name in self.shape.roles["serving"].secrets}
        names = {"MLFLOW_SERVING_PASSWORD": "MLFLOW_TRACKING_PASSWORD", "MONITORING_DB_PASSWORD": "PGPASSWORD"}
        image = ecs.ContainerImage.from_ecr_repository(self.storage.images["serving"], version.value_as_string)
        group = logs.LogGroup(self, "log", retention=logs.RetentionDays.THREE_MONTHS)
        logging = ecs.LogDrivers.aws_logs(stream_prefix="serving", log_group=group)
        container = task.add_container(
            "serving",
            image=image,
            readonly_root_filesystem=True,
            stop_timeout=Duration.seconds(30),  # what was accepted is answered
            environment={
                "MLFLOW_TRACKING_URI": addresses["mlflow"],
                "MLFLOW_TRACKING_USERNAME": "serving",
                "MONITORING_DATABASE_URI": f"postgresql+psycopg2://monitoring@{addresses['database']}:5432/monitoring",
                "PGSSLMODE": "require",
                "PNEUMONIA_MONITORING__FOLDER": WRITABLE["spool"],
                "MALLOC_ARENA_MAX": "2",
            },
            secrets={names.get(name, name): ecs.Secret.from_secrets_manager(one) for name, one in wanted.items()},
            logging=logging,
            health_check=ecs.HealthCheck(command=["CMD", "python", "-ISc", HEALTH], start_period=Duration.seconds(30)),
            port_mappings=[ecs.PortMapping(container_port=SERVICE_PORT)],
        )
        owner = self._owner(task, image, logging)
        for name, path in WRITABLE.items():
            task.add_volume(name=name)
            for one in (owner, container):
                one.add_mount_points(ecs.MountPoint(container_path=path, source_volume=name, read_only=False))
        success = ecs.ContainerDependencyCondition.SUCCESS
        container.add_container_dependencies(ecs.ContainerDependency(container=owner, condition=success))
        reasons = {
            "AwsSolutions-ECS2": "Settings, no secrets: those come from Secrets Manager.",
            "AwsSolutions-IAM5[Resource::*]": "ecr:GetAuthorizationToken knows no resource.",
        }
        accept(task, "AwsSolutions-ECS2", reasons["AwsSolutions-ECS2"])
        accept(self.role, "AwsSolutions-IAM5[Resource::*]", reasons["AwsSolutions-IAM5[Resource::*]"])
        return task

    def _owner(
        self, task: ecs.FargateTaskDefinition, image: ecs.ContainerImage, logging: ecs.LogDriver
    ) -> ecs.ContainerDefinition:
        """Describe what runs before a replica and gives the volumes to its user, who is not root and may not."""
        return task.add_container(
            "owner",
            image=image,
            essential=False,
            user="0",
            readonly_root_filesystem=True,
            command=["chown", f"{OWNER}:{OWNER}", *WRITABLE.values()],
            logging=logging,
        )

    def _balance(self) -> None:
        """Put the balancer in front: TLS with the certificate that a parameter names; ready replicas get requests."""
        certificate = CfnParameter(
            self, "CertificateArn", description="of the service's domain, in Certificate Manager"
        )
        balancer = elb.ApplicationLoadBalancer(
            self,
            "balancer",
            load_balancer_name=self.shape.name("serving"),
            vpc=self.network.vpc,
            internet_facing=True,
            security_group=self.network.groups["balancer"],
            drop_invalid_header_fields=True,
        )
        balancer.log_access_logs(self.storage.logs, prefix="balancer")
        balancer.add_redirect()
        listener = balancer.add_listener(
            "tls",
            port=443,
            open=False,
            certificates=[elb.ListenerCertificate.from_arn(certificate.value_as_string)],
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS,
        )
        listener.add_targets(
            "replicas",
            port=SERVICE_PORT,
            protocol=elb.ApplicationProtocol.HTTP,
            targets=[self.service],
            deregistration_delay=Duration.seconds(30),
            health_check=elb.HealthCheck(path="/readyz", interval=Duration.seconds(10), healthy_threshold_count=2),
        )
        CfnOutput(self, "address", value=balancer.load_balancer_dns_name, description="point the domain's name here")
