"""Accept a finding of cdk-nag, with its reason."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def accept(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept a rule's finding at a construct and at what it is made of; the reason stands in the report."""
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))
