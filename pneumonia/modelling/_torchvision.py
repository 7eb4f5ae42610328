"""Import torchvision's models, also where its compiled library does not match the installed torch.

A torchvision built for CUDA with a CPU build of torch fails at import ("operator torchvision::nms does not exist"),
because its compiled library cannot be loaded and two schemas remain undeclared. ResNet18 needs none of the compiled
operators, so the schemas are declared here; `torchvision.ops.nms` itself remains unusable.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []  # the declarations are valid as long as this reference exists


def models() -> ModuleType:
    """Return `torchvision.models`."""
    try:
        import torchvision.models as found
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _declare()
        import torchvision.models as found
    return found  # type: ignore[no-any-return]


def _declare() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(operator + _SCHEMA)  # type: ignore[no-untyped-call]
    _declared.append(library)
