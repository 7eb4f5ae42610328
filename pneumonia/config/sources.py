"""Read the layers of a configuration as nested dictionaries: a TOML file, the environment, assignments."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pneumonia.config.schema import did_you_mean
from pneumonia.credentials import redacted
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
            raise ConfigError(
                f"--set {redacted(assignment)}: write it as section.key=value, for example train.epochs=3"
            )
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
