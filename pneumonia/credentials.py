"""Keep passwords out of the configuration: recognise one in a URI, redact messages, resolve ``env:NAME``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from pneumonia.errors import ConfigError

REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_SECRET_WORDS = (
    "passw", "pwd", "passphrase", "token", "secret", "credential", "api_key", "api-key", "apikey", "access_key",
    "access-key", "accesskey", "signature", "odbc_connect",
)  # fmt: skip
"""What the name of a parameter contains whose value is no one else's; a connection string of ODBC's holds a password
in a notation of its own."""
_SECRET_NAMES = ("pass", "pw", "auth", "key", "sig", "sas", "jwt", "bearer")
"""Whole names of such parameters: as a part of a name they mean other things, such as passfile or sslkey."""
_NO_SERVER = ("sqlite", "file")  # whose paths may hold an @


def _any_case(words: Iterable[str]) -> str:
    """Return a pattern of these words, in capitals or not, without a flag."""
    return "|".join("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in word) for word in words)


def _before_the_colon() -> str:
    """Return a pattern of what may stand before the first colon, and is none of `_NO_SERVER`."""
    first = "".join(word[0] for word in _NO_SERVER)
    ways = [f"[^{first}:@][^:@]*", ""]
    for word in _NO_SERVER:
        ways += [f"{word[:at]}(?:[^{word[at]}:@][^:@]*)?" for at in range(1, len(word))]
        ways.append(f"{word}[^+:@][^:@]*")
    return f"(?:{'|'.join(ways)})"


_PARAMETER = (
    f"(?:[^=&;?#]*(?:{_any_case(_SECRET_WORDS)})[^=&;?#]*|[^=&;?#]*%[^=&;?#]*|\\s*(?:{_any_case(_SECRET_NAMES)})\\s*)="
)
HOLDS_PASSWORD = (
    # a server: any user information, because a token may stand in the user's place; a slash may be missing
    "^(?:https?[:/\\\\]+[^@]*@"
    # a database: the user's name alone is no secret. Without //, the address is mistyped, and what precedes the @ is
    # taken for a password; so it is in an address without a scheme
    f"|{_before_the_colon()}:(?:@|[^/@][^@]*@|/@|/[^/@][^@]*@|//[^:@]*:[^@]*@)"
    "|[^:@]*[^A-Za-z0-9+.:@-][^:@]*:[^@]*@"
    "|[^:/@]+@"
    # a parameter, in whatever part; an encoded letter of its name has no use but to hide it
    f"|[^?&;#]*(?:[?&;#][^?&;#]*)*[?&;#]{_PARAMETER})"
)
"""Pattern of a URI that contains a password or a token, or that may contain one because it is mistyped.

Also part of the JSON schema, so that the forms of Airflow and Prefect refuse such a URI before it is stored anywhere;
therefore it needs neither look-around nor flags.
"""
WAYS = (
    "leave them out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (a server) or PGPASSFILE "
    "(PostgreSQL), write a netrc, or put the whole URI into a variable and name that: tracking.uri=env:NAME"
)

_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):[/\\]+([^\s'\"<>]*)@")
_IN_TEXT = _PARAMETER.replace("[^=&;?#]", r"[^=&;?#\s]").replace(r"\s*", "")
_QUERY = re.compile(rf"([?&;#]{_IN_TEXT})[^&;\s'\"]*")
HIDDEN = "***"
_REDACTED = re.compile(r"(?<=/)\*\*\*@|[?&;#][^=&;?#]*=\*\*\*")


def holds_password(uri: str) -> bool:
    """Return whether a URI contains a password or a token."""
    return re.match(HOLDS_PASSWORD, uri, re.IGNORECASE) is not None


def stripped(uri: str) -> str:
    """Return a URI without what surrounds it and cannot be seen: blanks of every kind, line ends, marks of no width."""
    start, end = 0, len(uri)
    while start < end and _unseen(uri[start]):
        start += 1
    while start < end and _unseen(uri[end - 1]):
        end -= 1
    return uri[start:end]


def _unseen(letter: str) -> bool:
    return letter.isspace() or not letter.isprintable()


def redacted(text: str) -> str:
    """Return a text without the passwords of the URIs in it, for messages and logs."""
    return _QUERY.sub(rf"\1{HIDDEN}", _INFO.sub(_without_info, text))


def shown(uri: str) -> str:
    """Return a URI for a message that refuses it: redacted, or nothing of it where that is not enough."""
    found = redacted(uri)
    return HIDDEN if holds_password(_REDACTED.sub("", found)) or not found.isprintable() else found


def _without_info(found: re.Match[str]) -> str:
    scheme, info = found[1], found[2]
    if scheme.lower() in _NO_SERVER or (":" not in info and not scheme.lower().startswith("http")):
        return found[0]
    return f"{scheme}://{HIDDEN}@"


def dereferenced(uri: str, setting: str = "tracking.uri") -> str:
    """Return the URI in the variable that ``env:NAME`` names; any other URI as it is.

    Args:
        uri: the setting's value.
        setting: its name, for messages.

    Raises:
        ConfigError: the variable is not set, or holds no URI.
    """
    found = REFERENCE.fullmatch(uri)
    if found is None:
        return uri
    value = stripped(os.environ.get(found[1], ""))
    if not value or REFERENCE.fullmatch(value):
        raise ConfigError(
            f"{setting}={uri}: the variable {found[1]} holds no URI; set it where the pipeline runs: "
            f"export {found[1]}=..."
        )
    try:
        urlsplit(value)
    except ValueError as error:
        raise ConfigError(f"{setting}={uri}: the variable {found[1]} holds no valid URI ({error})") from None
    return value
