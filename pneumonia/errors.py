"""Errors that the user can fix; every message says what is wrong, where, and the remedy."""

from __future__ import annotations

import errno


class PneumoniaError(Exception):
    """A failure that is reported in one message, without a traceback.

    Attributes:
        exit_code: 1 for a finding or a refusal, 2 for wrong use.
    """

    exit_code = 1


class ConfigError(PneumoniaError):
    """A configuration that cannot be used; names the field, what is wrong and what is allowed."""

    exit_code = 2


class FolderInUse(PneumoniaError):
    """A folder that another process has locked."""


class DataError(PneumoniaError):
    """Data that cannot be used; names the files."""


class TrackingError(PneumoniaError):
    """The tracking server or its artifact store cannot be used; names its address.

    Attributes:
        permanent: the store has answered, and would answer the same again: a wrong login, a run that is not there.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class MonitoringError(PneumoniaError):
    """The monitoring database cannot be used.

    Attributes:
        permanent: it would answer the same again.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class FeedbackError(MonitoringError):
    """Feedback that cannot be taken: it contradicts itself or the decision, or is too long."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


class UnknownEventError(FeedbackError):
    """Feedback on an event that is not, or no longer, in the database."""


class TrainingInterrupted(PneumoniaError):
    """A training that was stopped by a signal; its checkpoint is written, and the next start resumes from it."""

    exit_code = 143


class WorkerLost(PneumoniaError):
    """A training whose workers no longer reach one another: one was killed, or its machine or network is away."""


# A disk that is full, a network file system or a connection that is away: what an administrator or time repairs. A
# missing file, a missing permission or a wrong path is not among them.
_MAY_RECOVER = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.EIO, errno.EINTR, errno.ENOSPC, errno.EDQUOT, errno.ENFILE, errno.EMFILE,
        errno.ENOMEM, errno.ESTALE, errno.EREMOTEIO, errno.ENOTCONN, errno.EPIPE, errno.ETIMEDOUT, errno.ECONNREFUSED,
        errno.ECONNRESET, errno.ECONNABORTED, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    }
)  # fmt: skip


def worth_retrying(error: BaseException) -> bool:
    """Return whether a step that failed with this error is tried again, by every orchestrator.

    A server, a disk or a connection may recover. A setting, data, a missing file or a stop that was asked for stays.
    """
    if isinstance(error, TrackingError | MonitoringError):
        return not error.permanent
    return isinstance(error, OSError) and error.errno in _MAY_RECOVER
