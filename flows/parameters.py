"""Refuse a run's parameters before the engine stores or logs them: they may hold a password."""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import get_call_parameters
from pydantic import BaseModel, ValidationError

from pneumonia.config.schema import Config
from pneumonia.data.places import check_address

PLACES = {"source", "out"}
"""Parameters that are addresses of archives and results."""
P = ParamSpec("P")
R = TypeVar("R")


class _Configured(BaseModel):
    """The parameter by its name, so that a message names config.train.epochs."""

    config: Config


class GuardedFlow(Flow[P, R]):
    """A flow whose configuration is validated first, so that one that is refused is neither stored nor logged.

    The engine writes a run's parameters to its database as they were given, and logs those that do not pass.
    """

    def __call__(  # type: ignore[override]  # one signature for the engine's overloads
        self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any
    ) -> Any:
        """Run the flow; see `Flow.__call__`.

        Raises:
            ParameterTypeError: the configuration is not valid; no run was made.
            ConfigError: an address holds a password; no run was made.
        """
        self.validate_parameters(get_call_parameters(self.fn, args, kwargs))
        run: Any = super().__call__
        return run(*args, return_state=return_state, wait_for=wait_for, **kwargs)

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with the configuration validated; the message repeats no password."""
        try:
            config = _Configured.model_validate({"config": parameters.get("config")}).config
        except ValidationError as error:
            raise ParameterTypeError.from_validation_error(error) from None
        for name in PLACES & parameters.keys():
            check_address(str(parameters[name]))
        return super().validate_parameters({**parameters, "config": config})


def guarded(made: Flow[P, R]) -> GuardedFlow[P, R]:
    """Return the flow with its parameters guarded; for use above ``@flow``."""
    return GuardedFlow(made.fn, name=made.name, persist_result=made.persist_result)
