"""Save and load the state of a training: one safetensors file, replaced atomically, without pickle.

Every random draw is derived from (seed, epoch, step), so that the position restores all random streams.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from pneumonia.errors import DataError
from pneumonia.files import write_bytes
from pneumonia.modelling.weights import state_digest
from pneumonia.records.epoch import Epoch
from pneumonia.timing import timed

log = logging.getLogger(__name__)
FORMAT = 2
START_AGAIN = "remove it to start the training again"


@dataclass
class TrainingState:
    """The position and metrics of a training.

    Attributes:
        epoch: the current epoch, from 0.
        step: number of its steps that are done.
        loss, correct, seen: sums over those steps.
        history: finished epochs, as documents.
        best_epoch, best_loss: the epoch, from 1, with the lowest validation loss; 0 while there is none.
        finished: whether the training is complete.
        finished_at: when it was completed, ISO 8601 in UTC; empty before.
        computed_with: every device, precision and number of threads that it was computed with, in order.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: int = 0
    seen: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    finished: bool = False
    finished_at: str = ""
    computed_with: list[str] = field(default_factory=list)

    def epochs(self) -> list[Epoch]:
        """Return the finished epochs."""
        return [Epoch.model_validate(epoch) for epoch in self.history]

    def next_epoch(self) -> None:
        """Go on to the next epoch."""
        self.epoch, self.step, self.loss, self.correct, self.seen = self.epoch + 1, 0, 0.0, 0, 0

    def note_compute(self, now: str, key: str) -> None:
        """Record what the training is computed with, and report a resume with something else."""
        used = self.computed_with
        if used and now not in used:
            log.warning(
                "the training %s was computed with %s and goes on with %s: its weights will not be bit-equal to those "
                "of one that is not interrupted, and its run is marked so",
                *(key[:8], "; ".join(used), now),
            )
        if now not in used:
            used.append(now)


Loaded = tuple[TrainingState, dict[str, dict[str, Tensor]]]
"""A training's state and its groups of tensors."""


@timed("checkpoints")
def save_checkpoint(
    path: Path, key: str, state: TrainingState, tensors: Mapping[str, Mapping[str, Tensor]], config: str
) -> None:
    """Write a checkpoint atomically: a reader finds the complete old one or the complete new one.

    Args:
        path: the file to replace.
        key: digest of the training's inputs; a checkpoint of another training is refused on loading.
        state: position and metrics.
        tensors: groups of named tensors (model, ema, best, optimizer).
        config: the resolved configuration as JSON, kept with the tensors.
    """
    flat = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, named in tensors.items()
        for name, tensor in named.items()
    }
    metadata = {
        "format": str(FORMAT),
        "key": key,
        "progress": json.dumps(vars(state)),
        "config": config,
        "digest": state_digest(flat),
    }
    write_bytes(path, serialise(flat, metadata))


def load_checkpoint(path: Path, key: str) -> Loaded | None:
    """Read a checkpoint; None where there is none.

    Raises:
        DataError: the file is damaged or belongs to another training.
    """
    if not path.exists():
        return None
    try:
        metadata, flat = _read(path)
        if metadata["format"] != str(FORMAT):
            raise DataError(f"{path}: the checkpoint has format {metadata['format']}, not {FORMAT}; {START_AGAIN}")
        if metadata["key"] != key:
            raise DataError(
                f"{path}: the checkpoint belongs to another training ({metadata['key'][:12]}); {START_AGAIN}"
            )
        if metadata["digest"] != state_digest(flat):
            raise DataError(
                f"{path}: the checkpoint is damaged (its tensors are not those that were written); {START_AGAIN}"
            )
        state = TrainingState(**json.loads(metadata["progress"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the checkpoint is damaged ({error}); {START_AGAIN}") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); grant read permission, or remove it"
        ) from None
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    return state, groups


def share_checkpoint(
    path: Path, key: str, found: Loaded | None, share: Callable[[bytes], bytes], *, first: bool
) -> Loaded | None:
    """Return worker 0's checkpoint in every worker; None where it has none.

    Args:
        path: the file, which worker 0 has and the others write.
        key: of the training.
        found: what worker 0 has read from it.
        share: returns in every worker what worker 0 gives.
        first: this is worker 0.

    Raises:
        DataError: as for `load_checkpoint`.
    """
    content = share(path.read_bytes() if first and found is not None else b"")
    if first or not content:
        return found
    write_bytes(path, content)
    return load_checkpoint(path, key)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no iterator


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to tensors named ``<parameter number>.<name>``."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": value for number, named in state.items() for name, value in named.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` returned, in the memory layout of the parameters, as a fused step requires."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
