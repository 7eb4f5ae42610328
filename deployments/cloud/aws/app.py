"""The stacks on AWS, as CloudFormation templates. Not tried on the real cloud.

    .venv-delivery/bin/python -m deployments.cloud.aws.app [--out DIR] [--removable]

cdk-nag's rules for AWS solutions are checked at the same time: a finding that is not acknowledged, with its reason,
ends it with 1. `--removable`: a trial; deleting the stacks deletes buckets, secrets and database too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from aws_cdk import App, DefaultStackSynthesizer, Environment, RemovalPolicy, Tags, Validations
from cdk_nag import AwsSolutionsChecks

from deployments.cloud.aws.budget import Budget
from deployments.cloud.aws.database import Database
from deployments.cloud.aws.machine import Machine
from deployments.cloud.aws.network import Network
from deployments.cloud.aws.serving import Serving
from deployments.cloud.aws.storage import Storage
from deployments.cloud.aws.training import Training
from deployments.cloud.shape import Shape, read_shape

FLAGS = {
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,  # the bucket of logs needs no ACL
    "@aws-cdk/aws-iam:minimizePolicies": True,
    "@aws-cdk/aws-ecs:removeDefaultDeploymentAlarm": True,
}


def build(shape: Shape, out: Path | None, removable: bool) -> App:
    """Return the app with all stacks; `out` is the folder for the templates, CDK's own where it is None."""
    app = App(outdir=str(out) if out else None, analytics_reporting=False, context=FLAGS)
    common = {"env": Environment(region=shape.regions["aws"])}

    def plain() -> dict[str, object]:
        # no asset and no version check: the templates work with `aws cloudformation deploy` too
        return common | {"synthesizer": DefaultStackSynthesizer(generate_bootstrap_version_rule=False)}

    removal = RemovalPolicy.DESTROY if removable else RemovalPolicy.RETAIN
    network = Network(app, shape, **plain())
    storage = Storage(app, shape, removal, **plain())
    database = Database(app, shape, network, storage, removal, **plain())
    host = database.instance.instance_endpoint.hostname
    machine = Machine(app, shape, network, storage, host, **plain())
    training = Training(app, shape, network, storage, machine.mlflow, removal, **plain())
    serving = Serving(app, shape, network, storage, {"mlflow": machine.mlflow, "database": host}, **plain())
    serving.add_stack_dependency(training)  # replicas are not ready before a training has made a champion
    Budget(app, shape, **plain())
    Tags.of(app).add("project", shape.project)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app


def main() -> None:
    """Write the templates and check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the templates")
    parser.add_argument("--removable", action="store_true", help="deleting the stacks deletes what they keep")
    options = parser.parse_args()
    build(read_shape(), options.out, options.removable).synth()


if __name__ == "__main__":
    main()
