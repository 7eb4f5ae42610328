"""The result of checking a version's evidence: one row a check."""

from __future__ import annotations

from typing import Literal

from pneumonia.records.base import Document

CheckOutcome = Literal["ok", "failed", "not done"]


class Check(Document):
    """A check of a version; one that is not done has nothing to check, or nothing to check it with."""

    name: str
    outcome: CheckOutcome
    detail: str


class Verification(Document):
    """All checks of a version, or of a folder with its files.

    Attributes:
        what: address of the version, or the folder.
        passed: no check has failed.
    """

    what: str
    passed: bool
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, what: str, checks: list[Check]) -> Verification:
        """Put the checks together."""
        return cls(what=what, passed=all(check.outcome != "failed" for check in checks), checks=tuple(checks))
