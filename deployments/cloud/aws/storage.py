"""What is kept: the buckets of DVC and MLflow, the registry of images, the secrets."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from deployments.cloud.aws.nag import accept
from deployments.cloud.shape import Shape

IMAGES = ("serving", "airflow")
"""Images that the clouds run; the machine builds its own."""
PATIENT_KEY = "PNEUMONIA_PATIENT_KEY"
"""The one secret with a form: 32 bytes as hexadecimal digits."""
NO_DIGITS = "ghijklmnopqrstuvwxyz"
"""Small letters that are no hexadecimal digits."""
READ = ("s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation")
WRITE = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")


class Storage(Stack):
    """Buckets, image repositories and secrets.

    Attributes:
        buckets: by their names in shape.toml.
        logs: the bucket of access logs.
        images: repositories, by image.
        secrets: by the variable's name.
    """

    def __init__(self, scope: Construct, shape: Shape, removal: RemovalPolicy, **stack: object) -> None:
        """Create them; `removal` says what becomes of them when the stack is deleted."""
        super().__init__(scope, "storage", stack_name=shape.name("storage"), **stack)
        self.shape, self.removal = shape, removal
        self.logs = self._bucket("logs", versioned=False, lifecycle=s3.LifecycleRule(expiration=Duration.days(90)))
        accept(
            self.logs, "AwsSolutions-S1", "The bucket of access logs; logs of who reads logs would fill it themselves."
        )
        old = s3.LifecycleRule(
            noncurrent_version_expiration=Duration.days(90), abort_incomplete_multipart_upload_after=Duration.days(7)
        )
        self.buckets = {name: self._bucket(name, lifecycle=old, log=self.logs) for name in shape.buckets}
        self.images = {name: self._images(name) for name in IMAGES}
        self.secrets = {name: self._secret(name) for name in shape.secrets}

    def _bucket(
        self, name: str, lifecycle: s3.LifecycleRule, versioned: bool = True, log: s3.IBucket | None = None
    ) -> s3.Bucket:
        """Create a bucket that is encrypted, private, reached by TLS alone; its name gets the account's number."""
        return s3.Bucket(
            self,
            name,
            bucket_name=f"{self.shape.name(name)}-{self.account}",
            versioned=versioned,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            lifecycle_rules=[lifecycle],
            server_access_logs_bucket=log,
            server_access_logs_prefix=f"{name}/" if log else None,
            removal_policy=self.removal,
        )

    def _images(self, name: str) -> ecr.Repository:
        return ecr.Repository(
            self,
            f"image-{name}",
            repository_name=f"{self.shape.project}/{name}",
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            lifecycle_rules=[ecr.LifecycleRule(max_image_count=10)],
            removal_policy=self.removal,
        )

    def _secret(self, name: str) -> secretsmanager.Secret:
        """Create a random secret of letters and digits alone, since some become part of a URL."""
        made = secretsmanager.SecretStringGenerator(password_length=48, exclude_punctuation=True)
        if name == PATIENT_KEY:
            made = secretsmanager.SecretStringGenerator(
                password_length=64, exclude_punctuation=True, exclude_uppercase=True, exclude_characters=NO_DIGITS
            )
        secret = secretsmanager.Secret(
            self,
            name.lower(),
            secret_name=self.shape.name(name),
            description=f"{name} of .env",
            generate_secret_string=made,
            removal_policy=self.removal,
        )
        accept(
            secret,
            "AwsSolutions-SMG4",
            "Changed by hand (docs/operations.md): the stack reads it into .env at its next start, not before.",
        )
        return secret

    def allow(self, role: iam.Role, name: str) -> None:
        """Give a role what shape.toml lists for it: its buckets, its secrets, and nothing else."""
        wanted = self.shape.roles[name]
        for bucket, access in wanted.buckets.items():
            place = f"{self.shape.name(bucket)}-{self.account}"
            arn = f"arn:{self.partition}:s3:::{place}"
            actions = [*READ, *(WRITE if access == "write" else ())]
            role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[arn, f"{arn}/*"]))
            accept(
                role,
                f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:s3:::{self.shape.name(bucket)}-<AWS::AccountId>/*]",
                "The objects of this bucket: DVC and MLflow name them by digest and run.",
            )
        arns = [self.secrets[secret].secret_arn for secret in wanted.secrets]
        role.add_to_policy(iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=arns))
