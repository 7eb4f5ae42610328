"""Keep passwords out of the configuration: recognise one in a URI, redact messages, resolve ``env:NAME``."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from pneumonia.errors import ConfigError

REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
QUERY_KEYS = "password|passwd|pwd|sslpassword|token|access_token|secret"
HOLDS_PASSWORD = (
    "^(?:https?://.*@"  # a server: any user information, because a token may stand in the user's place
    # a database: the user's name alone is no secret; neither sqlite: nor file:, whose paths may hold an @
    "|(?:[a-eg-rt-z]|f[a-hj-z]|s[a-pr-z])[a-z0-9+.-]*://[^:/@]*:[^@]*@"
    f"|[^?]*[?](?:.*&)?(?:{QUERY_KEYS})=)"
)
"""Pattern of a URI that contains a password or a token.

Also part of the JSON schema, so that the forms of Airflow and Prefect refuse such a URI before it is stored anywhere;
therefore it needs neither look-around nor flags.
"""
WAYS = (
    "leave them out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (a server) or PGPASSFILE "
    "(PostgreSQL), write a netrc, or put the whole URI into a variable and name that: tracking.uri=env:NAME"
)

_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^\s'\"<>]*)@")
_QUERY = re.compile(rf"(?i)([?&](?:{QUERY_KEYS})=)[^&\s'\"]*")


def holds_password(uri: str) -> bool:
    """Return whether a URI contains a password or a token."""
    return re.match(HOLDS_PASSWORD, uri, re.IGNORECASE) is not None


def redacted(text: str) -> str:
    """Return a text without the passwords of the URIs in it, for messages and logs."""
    return _QUERY.sub(r"\1***", _INFO.sub(_without_info, text))


def _without_info(found: re.Match[str]) -> str:
    scheme, info = found[1], found[2]
    if scheme.lower() in ("sqlite", "file") or (":" not in info and not scheme.lower().startswith("http")):
        return found[0]
    return f"{scheme}://***@"


def dereferenced(uri: str) -> str:
    """Return the URI in the variable that ``env:NAME`` names; any other URI as it is.

    Raises:
        ConfigError: the variable is not set, or holds no URI.
    """
    found = REFERENCE.fullmatch(uri)
    if found is None:
        return uri
    value = os.environ.get(found[1], "").strip()
    if not value or REFERENCE.fullmatch(value):
        raise ConfigError(
            f"tracking.uri={uri}: the variable {found[1]} holds no URI; set it where the pipeline runs: "
            f"export {found[1]}=..."
        )
    try:
        urlsplit(value)
    except ValueError as error:
        raise ConfigError(f"tracking.uri={uri}: the variable {found[1]} holds no valid URI ({error})") from None
    return value
