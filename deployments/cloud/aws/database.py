"""The database: PostgreSQL for MLflow, Airflow and events; encrypted, private, backed up every night."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from constructs import Construct

from deployments.cloud.aws.nag import accept
from deployments.cloud.aws.network import DATABASE_PORT, Network
from deployments.cloud.aws.storage import Storage
from deployments.cloud.shape import Shape


class Database(Stack):
    """One PostgreSQL instance, which takes TLS alone (RDS' default from version 15 on).

    The machine makes the three roles in it (deployments/postgres/10-roles.sh).

    Attributes:
        instance: the database.
    """

    def __init__(
        self,
        scope: Construct,
        shape: Shape,
        network: Network,
        storage: Storage,
        removal: RemovalPolicy,
        **stack: object,
    ) -> None:
        """Create it; `removal` says what becomes of it when the stack is deleted."""
        super().__init__(scope, "database", stack_name=shape.name("database"), **stack)
        engine = rds.DatabaseInstanceEngine.postgres(
            version=rds.PostgresEngineVersion.of(shape.database["version"], shape.database["version"].partition(".")[0])
        )
        keep = removal is not RemovalPolicy.DESTROY
        self.instance = rds.DatabaseInstance(
            self,
            "postgres",
            engine=engine,
            instance_type=ec2.InstanceType(shape.database["aws"]),
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[network.groups["database"]],
            port=DATABASE_PORT,
            credentials=rds.Credentials.from_password("postgres", storage.secrets["POSTGRES_PASSWORD"].secret_value),
            allocated_storage=shape.database["disk_gb"],
            storage_type=rds.StorageType.GP3,
            storage_encrypted=True,
            multi_az=True,
            publicly_accessible=False,
            backup_retention=Duration.days(shape.database["backup_days"]),
            deletion_protection=keep,
            delete_automated_backups=not keep,
            copy_tags_to_snapshot=True,
            cloudwatch_logs_exports=["postgresql"],
            removal_policy=removal,
        )
        reasons = {
            "AwsSolutions-RDS11": "The port is reached from two security groups alone; another number hides nothing.",
        }
        if not keep:
            reasons["AwsSolutions-RDS10"] = "A trial, which is meant to be deleted: app.py --removable."
        for rule, reason in reasons.items():
            accept(self.instance, rule, reason)
