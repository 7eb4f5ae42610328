"""The outcome of one of the doctor's checks."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["ok", "warn", "fail"]


class Check(BaseModel):
    """The name, outcome and remedy of one check; `remedy` is empty where nothing needs to be done."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: Status
    text: str
    remedy: str = ""
