"""Errors that the user can fix; every message says what is wrong, where, and the remedy."""

from __future__ import annotations


class PneumoniaError(Exception):
    """A failure that is reported in one message, without a traceback.

    Attributes:
        exit_code: 1 for a finding or a refusal, 2 for wrong use.
    """

    exit_code = 1


class ConfigError(PneumoniaError):
    """A configuration that cannot be used; names the field, what is wrong and what is allowed."""

    exit_code = 2


class DataError(PneumoniaError):
    """Data that cannot be used; names the files."""


class TrackingError(PneumoniaError):
    """The tracking server or its artifact store cannot be used; names its address."""


class TrainingInterrupted(PneumoniaError):
    """A training that was stopped by a signal; its checkpoint is written, and the next start resumes from it."""

    exit_code = 143
