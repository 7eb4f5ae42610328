"""Resolve the configuration from its sources into one frozen tree.

The sources are, weakest first: the defaults of `pneumonia.config.schema`, a profile, the overlay for phantoms where the
data are phantoms, a TOML file, environment variables (``PNEUMONIA_TRAIN__EPOCHS=3``) and ``--set train.epochs=3``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pneumonia.config.schema import (
    ARCHITECTURES,
    DATA_FOLDER,
    DEFAULT_ARCHITECTURE,
    PHANTOM_ROOT,
    PROFILES,
    Config,
    ModelConfig,
    RegistryConfig,
)
from pneumonia.config.sources import ENVIRONMENT_PREFIX, from_assignments, from_environment, from_toml, merge
from pneumonia.credentials import redacted, shown
from pneumonia.errors import ConfigError
from pneumonia.files import expand_home, is_regular_file


def resolve(
    profile: str = "fast",
    *,
    file: Path | None = None,
    assignments: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    any_model: bool = False,
) -> Config:
    """Resolve the configuration; ``data.root`` and ``model.weights`` are decided, never ``auto``, in the result.

    Where the data are phantoms, ``profiles/phantom.toml`` is laid over the profile.

    Args:
        profile: one of `PROFILES`.
        file: a TOML file with the same sections.
        assignments: ``section.key=value`` strings, the strongest.
        environment: variables to read; the process's own by default.
        any_model: the registered name may be of another architecture than the configured one, where nothing is trained.

    Raises:
        ConfigError: an unknown profile or key, a value out of range, a file that cannot be read.
    """
    if profile not in PROFILES:
        raise ConfigError(f"profile: {profile!r} is unknown; choose one of {', '.join(PROFILES)}")
    chosen = [
        *([(str(file), from_toml(_expanded(file)))] if file is not None else []),
        ("environment", from_environment(os.environ if environment is None else environment)),
        ("--set", from_assignments(assignments)),
    ]
    for origin, layer in chosen:
        if layer.get("profile", profile) != profile:
            raise ConfigError(f"profile (from {origin}): is chosen, not set; use --profile {layer['profile']}")
    layers = [(f"profile {profile}", _profile(profile) | {"profile": profile}), *chosen]
    root = _root(_validate(layers).data.root)
    if is_phantom(root):
        layers.insert(1, ("profile phantom", _profile("phantom")))
    decided = _validate([*layers, ("data.root", {"data": {"root": root}})])
    named = any(_holds(layer, ["registry", "name"]) for _, layer in chosen)
    model = _model(decided.model, phantom=is_phantom(root))
    registry = _registry(decided.registry, model.architecture, named=named, any_model=any_model)
    return decided.model_copy(update={"model": model, "registry": registry})


def _expanded(file: Path) -> Path:
    try:
        return Path(expand_home(str(file)))
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None


def _model(model: ModelConfig, *, phantom: bool) -> ModelConfig:
    """Decide the initial weights."""
    weights = ("none" if phantom else "imagenet") if model.weights == "auto" else model.weights
    return model.model_copy(update={"weights": weights})


def _registry(registry: RegistryConfig, architecture: str, *, named: bool, any_model: bool) -> RegistryConfig:
    """Decide a registered name; for a training one that no other architecture uses."""
    name = registry.name if named else registry.name.replace(DEFAULT_ARCHITECTURE, architecture)
    for other in ARCHITECTURES:
        if not any_model and other != architecture and other in name:
            raise ConfigError(
                f"registry.name={name}: names models of {other}, not of model.architecture={architecture}; "
                "choose another name"
            )
    return registry.model_copy(update={"name": name})


def _validate(layers: list[tuple[str, dict[str, Any]]]) -> Config:
    tree: dict[str, Any] = {}
    for _, layer in layers:
        tree = merge(tree, layer)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, layers)) from None


def _root(root: str) -> str:
    if root != "auto":
        return root
    return str(DATA_FOLDER) if DATA_FOLDER.is_dir() else PHANTOM_ROOT


def is_phantom(root: str) -> bool:
    """Return whether a data root means phantoms: the word itself, or a folder with the generator's phantom.json."""
    folder = Path(root)
    places = (folder, folder / "chest_xray")
    return root == PHANTOM_ROOT or any(is_regular_file(place / "phantom.json") for place in places)


def _profile(name: str) -> dict[str, Any]:
    return from_toml(Path(__file__).parent / "profiles" / f"{name}.toml")


def _explain(error: ValidationError, layers: list[tuple[str, dict[str, Any]]]) -> str:
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        words = problem["msg"].removeprefix("Value error, ")
        key, _, rest = words.partition(": ")
        if whole := ".".join([*path, key]) in Config.names():  # a check of a section begins with the key to be changed
            path, words = [*path, key], rest
        origin = next((name for name, layer in reversed(layers) if _holds(layer, path)), "defaults")
        if origin == "environment":
            origin = ENVIRONMENT_PREFIX + "__".join(path).upper()
        if problem["type"] == "model_type":
            words = f"is a section; set one of its keys, {_keys(path)}"
        # what was meant for a key of tracking may be a password
        hidden = whole or problem["type"] == "unknown_key" or path == ["tracking"]
        got = "" if hidden else f", got {_shown(problem['input'])}"
        lines.append(f"{'.'.join(path)} (from {origin}): {words}{got}")
    return "the configuration cannot be used:\n  " + "\n  ".join(lines)


def _keys(path: list[str]) -> str:
    section = ".".join(path)
    return ", ".join(name for name in Config.names() if name.startswith(f"{section}."))


def _shown(value: Any) -> str:
    return repr(shown(value)) if isinstance(value, str) else redacted(repr(value))


def _holds(layer: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(layer, dict) or key not in layer:
            return False
        layer = layer[key]
    return True
