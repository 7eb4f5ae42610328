"""Read the layers of a configuration as nested dictionaries: a TOML file, the environment, assignments."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pneumonia.errors import ConfigError

ENVIRONMENT_PREFIX = "PNEUMONIA_"
RESERVED_ENVIRONMENT = ("PNEUMONIA_TEST_",)  # variables of the test suite, never configuration


def from_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's sections.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: is not valid TOML ({error}); write lines such as epochs = 3 below [train]"
        ) from None


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``PNEUMONIA_SECTION__KEY`` variables set; values stay text."""
    tree: dict[str, Any] = {}
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and not name.startswith(RESERVED_ENVIRONMENT):
            keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            tree = merge(tree, _nest(keys, text))
    return tree


def from_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Return what ``section.key=value`` strings set; values stay text.

    Raises:
        ConfigError: a string without = or without a key.
    """
    tree: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {assignment}: write it as section.key=value, for example train.epochs=3")
        tree = merge(tree, _nest(key.strip().split("."), text.strip()))
    return tree


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
