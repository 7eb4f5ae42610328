"""Train a network on packed pixels and return the best weights; resumable at every step.

The same configuration, data, thread count and machine type give bit-identical weights, with or without interruptions.
The file of a finished training keeps its weights and history, from which models of any operating point are made.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from pneumonia.config.schema import Config
from pneumonia.errors import DataError, TrainingInterrupted
from pneumonia.modelling import checkpoint
from pneumonia.modelling.augment import augment
from pneumonia.modelling.batch_norm import recalibrate_batch_norm
from pneumonia.modelling.checkpoint import TrainingState
from pneumonia.modelling.device import Compute, kept_memory
from pneumonia.modelling.ema import MovingAverage
from pneumonia.modelling.network import build_network
from pneumonia.modelling.optimizer import build_optimizer, class_weights
from pneumonia.modelling.resident import ResidentImages
from pneumonia.modelling.schedule import image_side, learning_rate, resize_batch
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.modelling.step_totals import StepTotals
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.weights import state_digest
from pneumonia.progress import Progress, silent
from pneumonia.records.epoch import EPOCH_THRESHOLD, Epoch
from pneumonia.timing import timed

CHECKPOINT = "checkpoint.safetensors"
"""File in a training's folder: its state, and in the end its result."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A finished training: the weights of the epoch with the lowest validation loss (their moving average, if used).

    Attributes:
        finished_at: when it was completed, ISO 8601 in UTC.
        computed_with: every device, precision and number of threads that it was computed with; where there are
            several, another training with this key does not give the same bits.
    """

    state: dict[str, Tensor]
    weights_digest: str
    history: list[Epoch]
    best_epoch: int
    resumed: bool
    finished_at: str
    computed_with: tuple[str, ...]

    @classmethod
    def of(cls, state: TrainingState, best: dict[str, Tensor], *, resumed: bool) -> Fitted:
        """Return what a finished training has come to."""
        history = [Epoch.model_validate(epoch) for epoch in state.history]
        digest, computed = state_digest(best), tuple(state.computed_with)
        return cls(best, digest, history, state.best_epoch, resumed, state.finished_at, computed)


def fit(
    data: TrainingSet,
    config: Config,
    folder: Path,
    key: str,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Progress = silent,
) -> Fitted:
    """Train a network, resume from the checkpoint in `folder`, or return the finished training that it holds.

    Args:
        data: packed images; both splits must hold both classes.
        config: the resolved configuration.
        folder: folder of the checkpoint.
        key: see `pneumonia.modelling.identity.training_key`.
        on_epoch: called after each epoch with its metrics; after a resume, first with each finished epoch.
        on_step: called after each step with the steps done and in all.

    Raises:
        DataError: a split without images of both classes, a loss that is not finite, or a damaged checkpoint.
        TrainingInterrupted: SIGTERM was received; the checkpoint is written.
    """
    _check(data)
    path = folder / CHECKPOINT
    found = checkpoint.load_checkpoint(path, key)
    if found is not None and found[0].finished:
        fitted = Fitted.of(found[0], found[1]["best"], resumed=True)
        for epoch in fitted.history:
            on_epoch(epoch)
        return fitted
    with Compute.of(config.train).limited(), kept_memory(), _termination() as stop:
        session = _Session(data, config, path, key, found)
        for epoch in session.history:
            on_epoch(epoch)
        while not session.state.finished:
            session.run_epoch(on_step, stop)
            on_epoch(session.history[-1])
            if stop.is_set():
                raise TrainingInterrupted(f"stopped after epoch {session.state.epoch}; run it again to resume")
    return Fitted.of(session.state, session.best, resumed=session.resumed)


def _check(data: TrainingSet) -> None:
    for name, images in (("training", data.train), ("validation", data.validation)):
        if len(np.unique(images.labels)) < 2:
            raise DataError(
                f"the {name} split has {len(images)} images and not both classes; "
                "give more images, or raise data.patient_fraction or data.validation_fraction"
            )


class _Session:
    """The network, optimiser and state of one training."""

    def __init__(
        self, data: TrainingSet, config: Config, path: Path, key: str, found: checkpoint.Loaded | None
    ) -> None:
        self.data, self.config, self.train = data, config, config.train
        self.path, self.key = path, key
        self.compute = Compute.of(self.train)
        network = build_network(config.model.architecture, config.model.weights, self.train.seed)
        self.network = network.to(self.compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.network, self.train)
        self.average = MovingAverage(self.network, self.train.ema_decay) if self.train.ema_decay else None
        self.best: dict[str, Tensor] = {}
        self.state = TrainingState()
        self.images, self.totals = ResidentImages.of(data.train, self.compute), StepTotals()
        self.steps = math.ceil(len(data.train) / self.train.batch_size)
        self.weight = class_weights(data.train.labels, self.train).to(self.compute.device)
        self.resumed = found is not None
        if found is not None:
            self._restore(*found)
        self._note_compute()

    @property
    def history(self) -> list[Epoch]:
        return [Epoch.model_validate(epoch) for epoch in self.state.history]

    @property
    def evaluated(self) -> nn.Module:
        network: nn.Module = self.network if self.average is None else self.average.network
        return network

    def run_epoch(self, on_step: Progress, stop: threading.Event) -> None:
        state, began, fetching, fresh = self.state, time.perf_counter(), 0.0, self.state.seen
        order = np.random.default_rng([self.train.seed, state.epoch]).permutation(len(self.data.train))
        self.network.train()
        while state.step < self.steps:
            chosen = order[state.step * self.train.batch_size :][: self.train.batch_size]
            if len(chosen) > 1:  # batch norm cannot compute a variance from one image
                fetch = time.perf_counter()
                images, labels = self.images.batch(chosen)
                fetching += time.perf_counter() - fetch
                self._step(images, labels)
            state.step += 1
            on_step(state.epoch * self.steps + state.step, self.train.epochs * self.steps)
            if stop.is_set():
                self._save()
                raise TrainingInterrupted(f"stopped in epoch {state.epoch + 1}; run it again to resume")
        self._settle()  # before the clock is read: a GPU may still be computing
        seconds = time.perf_counter() - began
        self._close_epoch(seconds, (state.seen - fresh) / seconds, fetching / seconds)

    @timed("training steps")
    def _step(self, images: Tensor, labels: Tensor) -> None:
        state, train = self.state, self.train
        done = state.epoch * self.steps + state.step
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(train, done, self.steps)
        generator = torch.Generator().manual_seed(train.seed * 1_000_003 + done)
        size = image_side(train, self.config.preprocess.size, done, self.steps)
        images = augment(resize_batch(images, size), self.config.augment, generator)
        with self.compute.autocast():
            logits = self.network(images)
        loss = F.cross_entropy(logits.float(), labels, self.weight, label_smoothing=train.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.average is not None:
            self.average.update(done)
        self.totals.add(state.step + 1, loss, (logits.argmax(1) == labels).sum(), len(labels))
        if self.totals.due:
            self._settle()

    def _settle(self) -> None:
        """Add the results of the steps so far to the epoch's; a loss that is not finite ends the training here."""
        for result in self.totals.settle():
            self.state.loss += self._finite(result.loss, f"step {result.number}") * result.count
            self.state.correct += result.correct
            self.state.seen += result.count

    def _finite(self, loss: float, where: str) -> float:
        if not math.isfinite(loss):
            raise DataError(
                f"the loss is {loss} in epoch {self.state.epoch + 1}, {where}; "
                f"lower train.learning_rate ({self.train.learning_rate}) or set train.precision=fp32"
            )
        return loss

    def _close_epoch(self, seconds: float, speed: float, data_wait: float) -> None:
        state = self.state
        if count := self.train.bn_recalibration_images:
            images = self.data.train
            chosen = np.random.default_rng(self.train.seed).permutation(images.rows)[:count]
            recalibrate_batch_norm(self.evaluated, images.pixels, chosen, self.compute)
        validation = self._validate()
        self._finite(validation["val_loss"], "validation")
        epoch = Epoch(
            epoch=state.epoch + 1,
            train_loss=state.loss / state.seen,
            train_accuracy=state.correct / state.seen,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            images_per_second=speed,
            seconds=seconds,
            data_wait=data_wait,
            **validation,
        )
        state.history.append(epoch.model_dump())
        if epoch.val_loss < state.best_loss:
            state.best_loss, state.best_epoch = epoch.val_loss, epoch.epoch
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.evaluated.state_dict().items()}
        state.epoch, state.step, state.loss, state.correct, state.seen = epoch.epoch, 0, 0.0, 0, 0
        state.finished = epoch.epoch == self.train.epochs or self._out_of_patience()
        state.finished_at = datetime.now(UTC).isoformat(timespec="seconds") if state.finished else ""
        self._save()

    def _out_of_patience(self) -> bool:
        """Return whether to stop early: after an epoch at full image size, which smaller images only prepare."""
        state, train = self.state, self.train
        full = self.config.preprocess.size
        first = (state.epoch - 1) * self.steps
        if not train.patience or image_side(train, full, first, self.steps) < full:
            return False
        return state.epoch - state.best_epoch >= train.patience

    def _validate(self) -> dict[str, float]:
        images, labels = self.data.validation, self.data.validation.labels
        positive = predict_probabilities(self.evaluated, images.pixels, images.rows, self.compute)
        likelihood = np.where(labels == 1, positive, 1 - positive).clip(1e-7)
        predicted = positive >= EPOCH_THRESHOLD
        hits = int((predicted & (labels == 1)).sum())
        precision = hits / max(int(predicted.sum()), 1)
        recall = hits / int((labels == 1).sum())
        return {
            "val_loss": float(-np.log(likelihood).mean()),
            "val_accuracy": float((predicted == (labels == 1)).mean()),
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / (precision + recall) if hits else 0.0,
            "auroc": float(roc_auc_score(labels, positive)) if np.isfinite(positive).all() else float("nan"),
        }

    def _save(self) -> None:
        self._settle()
        # nothing goes on from a finished training but its result
        groups: dict[str, dict[str, Tensor]] = (
            {"best": self.best}
            if self.state.finished
            else {
                "model": self.network.state_dict(),
                "ema": self.average.network.state_dict() if self.average is not None else {},
                "best": self.best,
                "optimizer": checkpoint.optimizer_tensors(self.optimizer),
            }
        )
        checkpoint.save_checkpoint(self.path, self.key, self.state, groups, self.config.model_dump_json())

    def _restore(self, state: TrainingState, groups: dict[str, dict[str, Tensor]]) -> None:
        self.state = state
        self.network.load_state_dict(groups["model"])
        if self.average is not None:
            self.average.network.load_state_dict(groups["ema"])
        self.best = groups.get("best", {})
        checkpoint.restore_optimizer(self.optimizer, groups["optimizer"])
        log.info("resumed at epoch %d, step %d", self.state.epoch + 1, self.state.step)

    def _note_compute(self) -> None:
        """Record what the training is computed with, and report a resume with something else."""
        now, used = self.compute.describe(), self.state.computed_with
        if used and now not in used:
            log.warning(
                "the training %s was computed with %s and goes on with %s: its weights will not be bit-equal to those "
                "of one that is not interrupted, and its run is marked so",
                *(self.key[:8], "; ".join(used), now),
            )
        if now not in used:
            used.append(now)


@contextmanager
def _termination() -> Iterator[threading.Event]:
    """Turn SIGTERM into an event that is checked after each step; only a main thread can receive signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
