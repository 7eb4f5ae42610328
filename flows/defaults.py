"""Set what Prefect reads from the environment when it is imported, where the user has not."""

from __future__ import annotations

import os

DEFAULTS = {
    # the page of a run shows every line; on the console the steps tell how far they are themselves
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a busy machine needs more than 20
}


def set_defaults() -> None:
    """Set the defaults; to be called before Prefect is imported."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
