"""Find out whether a model was withdrawn by a rollback, whichever version or run holds it."""

from __future__ import annotations

from collections.abc import Sequence

from pneumonia.records.model import ModelRecord
from pneumonia.registry import ledger, models
from pneumonia.registry.ledger import Standing
from pneumonia.registry.models import Version
from pneumonia.tracking.client import store_is_new


def withdrawal(uri: str, record: ModelRecord) -> str | None:
    """Return in one sentence how a model was withdrawn, whichever version or run holds it; None where it was not.

    Raises:
        PneumoniaError: an entry of the ledger was damaged.
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return None
    return withdrawn_as(
        _standing(uri, record.name), [each for each in models.versions(uri, record.name) if each.is_model(record)]
    )


def withdrawal_in_another_use(uri: str, record: ModelRecord) -> str | None:
    """Return in one sentence how these weights were withdrawn with another threshold or preprocessing; or None.

    Another threshold may be the remedy, so that they may become champion; the verdict warns of it.

    Raises:
        PneumoniaError: an entry of the ledger was damaged.
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return None
    known = models.versions(uri, record.name)
    others = [v for v in known if v.weights_digest == record.weights_digest and not v.is_model(record)]
    return withdrawn_as(_standing(uri, record.name), others)


def withdrawn_as(now: Standing, same: Sequence[Version]) -> str | None:
    """Return in one sentence how one of the versions of a model was withdrawn."""
    for version in same:
        if (move := now.withdrawn.get(version.version)) is not None:
            return f"version {version.version} was withdrawn by {move.who} at {move.when[:19]} UTC: {move.why}"
    return None


def same_model(one: Version, other: Version) -> bool:
    """Return whether two versions are one model; by the weights alone where one is of an earlier release."""
    if one.model_digest and other.model_digest:
        return one.model_digest == other.model_digest
    return one.weights_digest == other.weights_digest


def _standing(uri: str, name: str) -> Standing:
    return ledger.standing(models.history(uri, name))
