"""Read the layers of a configuration as nested dictionaries: a TOML file, the environment, assignments."""

from __future__ import annotations

import codecs
import logging
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pneumonia.config.schema import Config
from pneumonia.config.section import did_you_mean, nearest
from pneumonia.credentials import shown
from pneumonia.errors import ConfigError

ENVIRONMENT_PREFIX = "PNEUMONIA_"
RESERVED_ENVIRONMENT = (
    *("PNEUMONIA_TEST_", "PNEUMONIA_API_KEY", "PNEUMONIA_METRICS_KEY", "PNEUMONIA_WEBHOOK_TOKEN"),
    "PNEUMONIA_SIGNING_PASSWORD",
    "PNEUMONIA_PATIENT_KEY",
)
"""Variables that are no configuration: the test suite's, and secrets."""
SERVICE_VARIABLE = re.compile(r"(?!.*__)[A-Z0-9_]+_(SERVICE_HOST|(SERVICE_)?PORT(_[A-Z0-9_]+)?)")
"""What Kubernetes sets for a service: NAME_SERVICE_HOST, NAME_SERVICE_PORT_HTTP, NAME_PORT_80_TCP_ADDR."""

logger = logging.getLogger(__name__)


def from_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's sections.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        content = path.read_bytes()
        # Editors of Windows begin a file with a mark of its encoding; PowerShell's > writes UTF-16.
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return tomllib.loads(content.decode("utf-16" if marked else "utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a TOML file") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}: is not text in UTF-8 (line {line}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML ({_words(error)})") from None


def _words(error: tomllib.TOMLDecodeError) -> str:
    text = str(error)
    if text.startswith("Cannot"):  # it says overwrite, declare or mutate
        return f"a key or a section is there twice, {text[text.rfind('(') + 1 : -1]}; keep one"
    return f"{text}; write lines such as epochs = 3 below [train]"


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``PNEUMONIA_SECTION__KEY`` variables set; values stay text, and an empty one sets nothing.

    A variable that names no setting is a warning and no error: it may be somebody else's. Kubernetes sets some for each
    service, of which one may be named ``pneumonia``; these are passed over.
    """
    tree: dict[str, Any] = {}
    known = {variable_of(name): name for name in Config.names()}
    for name, text in sorted(environment.items()):
        if name in known and text:
            tree = merge(tree, _nest(known[name].split("."), text))
        elif name.startswith(ENVIRONMENT_PREFIX) and name not in known and not _is_foreign(name):
            near = nearest(name.removeprefix(ENVIRONMENT_PREFIX).replace("__", "."), known.values())
            meant = f"; did you mean {variable_of(near)}?" if near else ""
            _warn_once(f"warning: {name} names no setting, and is ignored{meant}")
    return tree


def variable_of(name: str) -> str:
    """Return the environment variable that sets a setting, such as ``train.epochs``."""
    return ENVIRONMENT_PREFIX + name.upper().replace(".", "__")


def _is_foreign(name: str) -> bool:
    return name.startswith(RESERVED_ENVIRONMENT) or SERVICE_VARIABLE.fullmatch(name) is not None


@cache
def _warn_once(text: str) -> None:
    logger.warning(text)


def from_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Return what ``section.key=value`` strings set; values stay text.

    Raises:
        ConfigError: a string without = or without a key.
    """
    tree: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {shown(assignment)}: write it as section.key=value, for example train.epochs=3")
        tree = merge(tree, _nest(key.strip().split("."), text.strip()))
    return tree


def from_form(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the values that a form or an orchestrator's parameters set, by dotted names; None sets nothing.

    A setting may be named ``train.epochs`` or lie nested, as in ``{"train": {"epochs": 3}}``.

    Args:
        given: as it was sent, so that a mistyped name is seen.
        known: the dotted names that may be set.

    Raises:
        ConfigError: an unknown name, or one that is set twice.
    """
    sections = {name.rpartition(".")[0] for name in known} - {""}
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for name, value in _leaves(given, sections):
        if name not in known:
            wrong.append(f"{name}: unknown key; {did_you_mean(name, known)}".rstrip())
        elif value is not None and name in values:
            wrong.append(f"{name}: is set twice, nested and as {name}; set it once")
        elif value is not None:
            values[name] = value
    if wrong:
        raise ConfigError(
            f"the run's configuration cannot be used: {'; '.join(wrong)} (a setting is named as in the form, "
            "section.key, or nested)"
        )
    return values


def _leaves(tree: Mapping[str, Any], sections: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name in sections:
            yield from _leaves(value, sections, f"{name}.")
        else:
            yield name, value


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def merge(base: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Return the base with the layer's keys replaced, section by section; neither argument is changed."""
    merged = dict(base)
    for key, value in layer.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged
