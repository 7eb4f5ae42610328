"""Define what every section of the configuration shares: frozen, unknown keys refused; paths, and addresses without
passwords."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from pneumonia.credentials import HIDDEN, HOLDS_PASSWORD, REFERENCE, WAYS, holds_password, shown, stripped
from pneumonia.files import check_path, expand_home

Fraction = Annotated[float, Field(ge=0, le=1)]


def unknown_key(key: str, known: Iterable[str], everywhere: Iterable[str] = ()) -> str:
    """Describe an unknown key, with the settings of that name elsewhere, or the nearest of the known ones."""
    names = sorted(known)
    elsewhere = [name for name in everywhere if name.rpartition(".")[2] == key.casefold()]
    meant = f"did you mean {' or '.join(elsewhere)}? " if elsewhere else did_you_mean(key, names)
    return f"unknown key; {meant}known here: {', '.join(names)}"


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known key; empty where none is near."""
    near = nearest(key, known)
    return f"did you mean {near}? " if near else ""


def nearest(key: str, known: Iterable[str]) -> str | None:
    """Return the known key that is nearest to `key` by its whole or its last part; None where none is near."""
    folded: dict[str, str] = {}
    for name in sorted(known):
        folded.setdefault(name.rpartition(".")[2].casefold(), name)
        folded[name.casefold()] = name
    near = difflib.get_close_matches(key.casefold(), folded, n=1)
    return folded[near[0]] if near else None


_ADDRESS = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]+:/[^:]*")  # a letter alone is a drive of Windows


def _path(value: Any) -> Any:
    """Expand ``~``, and refuse what no path can be."""
    if not isinstance(value, str):
        return value
    if _ADDRESS.match(value):
        words = "is an address, not a path on this machine; mount or download it, and name the folder"
        raise ValidationError.from_exception_data(
            "path",
            [InitErrorDetails(type=PydanticCustomError("path", "{words}", {"words": words}), input=shown(value))],
        )
    try:
        path = expand_home(value)
        check_path(path)
    except ValueError as error:
        raise PydanticCustomError("path", "{words}", {"words": str(error)}) from None
    return path


PathText = Annotated[str, BeforeValidator(_path)]
OptionalPath = Annotated[str, BeforeValidator(lambda path: path and _path(path))]
"""A path, or empty for none."""


class Section(BaseModel):
    """A part of the configuration: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_nearest_key(cls, value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        """Say what a misspelt key may have meant, whoever validates: the command line, Airflow or Prefect."""
        try:
            return handler(value)
        except ValidationError as error:
            lines = [cls._line(problem) for problem in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(error.title, lines) from None

    @classmethod
    def _line(cls, problem: Any) -> InitErrorDetails:
        words, given = problem["msg"], problem["input"]
        if problem["type"] == "extra_forbidden":
            words, given = unknown_key(str(problem["loc"][-1]), cls.model_fields, _all_settings()), None
        kind = PydanticCustomError("unknown_key" if given is None else problem["type"], "{words}", {"words": words})
        given = shown(given) if isinstance(given, str) else given  # an orchestrator writes it to its log
        return InitErrorDetails(type=kind, loc=problem["loc"], input=given)


def _all_settings() -> list[str]:
    from pneumonia.config.schema import Config  # which is made of sections

    return Config.names()


def without_password(value: Any) -> Any:
    """Refuse a URI with a password, without repeating it: the settings are stored with every run."""
    if not isinstance(value, str):
        return value
    value = stripped(value)
    if holds_password(value):
        raise _refused(f"a URI must not contain user and password; {WAYS}", shown(value))
    if not value.isprintable():
        raise _refused("a URI must not contain line ends, or letters that cannot be seen; write it anew", HIDDEN)
    if value.startswith("env:") and not REFERENCE.fullmatch(value):
        raise _refused("write env:NAME with the name of an environment variable", "env:***")
    if value.startswith("sqlite:///~"):
        return f"sqlite:///{_path(value.removeprefix('sqlite:///'))}"
    return value


def _refused(words: str, shown: str) -> ValidationError:
    line = InitErrorDetails(type=PydanticCustomError("password", "{words}", {"words": words}), loc=(), input=shown)
    return ValidationError.from_exception_data("a value", [line])


UriText = Annotated[
    str,
    BeforeValidator(without_password),
    Field(json_schema_extra={"not": {"type": "string", "pattern": HOLDS_PASSWORD}}),
]
"""The address of a store: without a password, or ``env:NAME``."""
