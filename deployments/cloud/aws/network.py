"""The network: two zones; the balancer is public, what computes private, the database isolated."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from deployments.cloud.aws.nag import accept
from deployments.cloud.shape import Shape

SERVICE_PORT, MLFLOW_PORT, DATABASE_PORT = 8000, 5000, 5432


class Network(Stack):
    """A VPC, and a security group for each part with the ports that others reach it on.

    Attributes:
        vpc: the network.
        groups: security groups of balancer, serving, machine, training and database.
    """

    def __init__(self, scope: Construct, shape: Shape, **stack: object) -> None:
        """Create the network. One gateway lets what is private reach the outside; S3 is reached without it."""
        super().__init__(scope, "network", stack_name=shape.name("network"), **stack)
        subnet, kind = ec2.SubnetConfiguration, ec2.SubnetType
        self.vpc = ec2.Vpc(
            self,
            "vpc",
            ip_addresses=ec2.IpAddresses.cidr("10.20.0.0/16"),
            max_azs=2,
            nat_gateways=1,
            subnet_configuration=[
                subnet(name="public", subnet_type=kind.PUBLIC, cidr_mask=24, map_public_ip_on_launch=False),
                subnet(name="private", subnet_type=kind.PRIVATE_WITH_EGRESS, cidr_mask=22),
                subnet(name="database", subnet_type=kind.PRIVATE_ISOLATED, cidr_mask=24),
            ],
            gateway_endpoints={"s3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)},
        )
        group = logs.LogGroup(self, "flows", retention=logs.RetentionDays.ONE_MONTH)
        self.vpc.add_flow_log(
            "rejected",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(group),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )
        self.groups = {name: self._group(name) for name in ("balancer", "serving", "machine", "training", "database")}
        self._connect()

    def _group(self, name: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(self, name, vpc=self.vpc, description=f"of {name}", allow_all_outbound=True)

    def _connect(self) -> None:
        """Open the ports: the balancer's to everybody, every other one to the parts that need it."""
        open_, port, group = self.groups["balancer"], ec2.Port, self.groups
        for number, what in ((443, "the service, by TLS"), (80, "is redirected")):
            open_.add_ingress_rule(ec2.Peer.any_ipv4(), port.tcp(number), what)
        accept(
            open_,
            "AwsSolutions-EC23",
            "The service's address: it asks every caller for its key. Narrow it to your hospital's addresses.",
        )
        arrows = (("balancer", "serving", SERVICE_PORT), ("serving", "machine", MLFLOW_PORT))
        arrows += (("training", "machine", MLFLOW_PORT), ("machine", "serving", SERVICE_PORT))
        arrows += (("machine", "database", DATABASE_PORT), ("serving", "database", DATABASE_PORT))
        for source, target, number in arrows:
            group[target].add_ingress_rule(group[source], port.tcp(number), f"from {source}")
