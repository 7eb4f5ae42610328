"""Train a network on packed pixels and return the best weights; resumable at every step.

The same configuration, data, thread count and machine type give bit-identical weights, with or without interruptions.
Where batches are cut into shards, so does any number of workers. The file of a finished training keeps its weights and
history, from which models of any operating point are made.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumonia.config.schema import Config
from pneumonia.errors import DataError, TrainingInterrupted, WorkerLost
from pneumonia.modelling import checkpoint
from pneumonia.modelling.augment import augment
from pneumonia.modelling.batch_norm import recalibrate_batch_norm
from pneumonia.modelling.checkpoint import TrainingState
from pneumonia.modelling.device import kept_memory
from pneumonia.modelling.ema import MovingAverage
from pneumonia.modelling.fitted import Fitted
from pneumonia.modelling.launching import gathered, own_compute
from pneumonia.modelling.network import build_network
from pneumonia.modelling.optimizer import build_optimizer, class_weights
from pneumonia.modelling.resident import ResidentImages
from pneumonia.modelling.schedule import image_side, learning_rate, resize_batch
from pneumonia.modelling.sharded_step import Outcome, ShardedStep, sharded_compute
from pneumonia.modelling.step_totals import StepTotals
from pneumonia.modelling.termination import termination
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.validation import validation_metrics
from pneumonia.modelling.workers import Launch, Workers
from pneumonia.progress import Progress, silent
from pneumonia.records.epoch import Epoch
from pneumonia.timing import timed

CHECKPOINT = "checkpoint.safetensors"
"""File in a training's folder: its state, and in the end its result."""

RESTARTS = 3
"""How often a training starts its workers again after one of them was lost."""

log = logging.getLogger(__name__)


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
    data.check()
    path, reported = folder / CHECKPOINT, list[Epoch]()

    def on_new_epoch(epoch: Epoch) -> None:
        if epoch.epoch > len(reported):  # those before are trained again after workers were lost
            reported.append(epoch)
            on_epoch(epoch)

    lost_workers = 0
    while True:
        found = checkpoint.load_checkpoint(path, key)
        if found is not None and found[0].finished:
            fitted = Fitted.of(found[0], found[1]["best"], resumed=True)
            for epoch in fitted.history:
                on_new_epoch(epoch)
            return fitted
        try:
            return _train(data, config, path, key, found, on_new_epoch, on_step)
        except WorkerLost as lost:
            lost_workers += 1
            if lost_workers > RESTARTS or Launch.found() is not None:
                raise
            log.warning("%s; the workers are started again from the last checkpoint", lost)
        gc.collect()  # the lost training's network and gradients, which refer to one another


def _train(
    data: TrainingSet,
    config: Config,
    path: Path,
    key: str,
    found: checkpoint.Loaded | None,
    on_epoch: Callable[[Epoch], None],
    on_step: Progress,
) -> Fitted:
    with own_compute(config).limited(), kept_memory(), termination() as stop:
        try:
            with gathered(data, config, key, path.parent, stop) as workers:
                session = _Session(data, config, path, key, workers, found)
                session.run(on_epoch, on_step, stop)
        except WorkerLost:
            if stop.is_set():  # the others have received the signal too, and were faster
                raise TrainingInterrupted("stopped; run it again to resume from the last checkpoint") from None
            raise
    return Fitted.of(session.state, session.best, resumed=session.resumed)


def help_fit(data: TrainingSet, config: Config, folder: Path, key: str, workers: Workers) -> None:
    """Compute a share of another process's training until it ends; nothing is kept here.

    Args:
        data: the same training images that worker 0 has; those for validation are not used.
        config: the resolved configuration.
        folder: an empty folder, for worker 0's checkpoint.
        key: of the training.
        workers: this process among the others; not the first.

    Raises:
        DataError: worker 0 trains something else, or a loss that is not finite.
        TrainingInterrupted: one of the workers has received SIGTERM.
        WorkerLost: another worker is gone.
    """
    with own_compute(config).limited(), kept_memory(), termination() as stop:
        _Session(data, config, folder / CHECKPOINT, key, workers, None).run(lambda _: None, silent, stop)


class _Session:
    """The network, optimiser and state of one training."""

    def __init__(
        self,
        data: TrainingSet,
        config: Config,
        path: Path,
        key: str,
        workers: Workers,
        found: checkpoint.Loaded | None,
    ) -> None:
        self.data, self.config, self.train = data, config, config.train
        self.path, self.key, self.workers = path, key, workers
        self.compute = sharded_compute(self.train, workers.local_rank)
        network = build_network(config.model.architecture, config.model.weights, self.train.seed)
        self.network = network.to(self.compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.network, self.train)
        self.average = MovingAverage(self.network, self.train.ema_decay) if self.train.ema_decay else None
        self.best: dict[str, Tensor] = {}
        self.state = TrainingState()
        self.images, self.totals = ResidentImages.of(data.train, self.compute), StepTotals()
        self.steps = math.ceil(len(data.train) / self.train.batch_size)
        self.weight = class_weights(data.train.labels, self.train).to(self.compute.device)
        self.fetching = 0.0
        self._gradient = self._whole_gradient
        if self.train.shards:
            step = ShardedStep(self.network, config, self.compute, workers, self.weight, data.train.labels, self._batch)
            self._gradient = step.gradient
        computing = workers.check_same(key, self.compute.describe())
        if workers.size > 1:
            found = checkpoint.share_checkpoint(path, key, found, workers.share, first=not workers.rank)
        self.resumed = found is not None
        if found is not None:
            self._restore(*found)
        self.state.note_compute(" and ".join(computing), key)
        self.saved = time.monotonic()

    @property
    def evaluated(self) -> nn.Module:
        network: nn.Module = self.network if self.average is None else self.average.network
        return network

    def run(self, on_epoch: Callable[[Epoch], None], on_step: Progress, stop: threading.Event) -> None:
        """Train to the end, with all workers; see `fit`."""
        for epoch in self.state.epochs():
            on_epoch(epoch)
        while not self.state.finished:
            self.run_epoch(on_step, stop)
            self.state.finished = bool(self.workers.share(b"finished" if self.state.finished else b""))
            if not self.workers.rank:
                on_epoch(self.state.epochs()[-1])
            if stop.is_set():
                raise TrainingInterrupted(f"stopped after epoch {self.state.epoch}; run it again to resume")

    def run_epoch(self, on_step: Progress, stop: threading.Event) -> None:
        state, began, fresh, self.fetching = self.state, time.perf_counter(), self.state.seen, 0.0
        order = np.random.default_rng([self.train.seed, state.epoch]).permutation(len(self.data.train))
        self.network.train()
        while state.step < self.steps:
            chosen = order[state.step * self.train.batch_size :][: self.train.batch_size]
            # batch norm cannot compute a variance from one image
            stopping = self._step(chosen, stop) if len(chosen) > 1 else False
            state.step += 1
            on_step(state.epoch * self.steps + state.step, self.train.epochs * self.steps)
            if stopping or (self.workers.size == 1 and stop.is_set()):
                self._save()
                raise TrainingInterrupted(f"stopped in epoch {state.epoch + 1}; run it again to resume")
            if self.train.checkpoint_seconds and time.monotonic() - self.saved > self.train.checkpoint_seconds:
                self._save()
        self._settle()  # before the clock is read: a GPU may still be computing
        seconds = time.perf_counter() - began
        if self.workers.rank:
            state.next_epoch()
        else:
            self._close_epoch(seconds, (state.seen - fresh) / seconds, self.fetching / seconds)

    def _batch(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        began = time.perf_counter()
        images, labels = self.images.batch(chosen)
        self.fetching += time.perf_counter() - began
        return images, labels

    @timed("training steps")
    def _step(self, chosen: NDArray[np.int64], stop: threading.Event) -> bool:
        """Train on one batch, and return whether a worker is to end after it."""
        state, train = self.state, self.train
        done = state.epoch * self.steps + state.step
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(train, done, self.steps)
        size = image_side(train, self.config.preprocess.size, done, self.steps)
        outcome = self._gradient(chosen, done, size, stop)
        self.optimizer.step()
        if self.average is not None and not self.workers.rank:
            self.average.update(done)
        self.totals.add(state.step + 1, outcome.loss, outcome.correct, len(chosen))
        if self.totals.due:
            self._settle()
        return outcome.stop

    def _settle(self) -> None:
        """Add the results of the steps so far to the epoch's; a loss that is not finite ends the training here."""
        for result in self.totals.settle():
            self.state.loss += self._finite(result.loss, f"step {result.number}") * result.count
            self.state.correct += result.correct
            self.state.seen += result.count

    def _whole_gradient(self, chosen: NDArray[np.int64], done: int, size: int, stop: threading.Event) -> Outcome:
        """Leave the gradient of a batch that is not cut into shards in the parameters."""
        images, labels = self._batch(chosen)
        generator = torch.Generator().manual_seed(self.train.seed * 1_000_003 + done)
        images = augment(resize_batch(images, size), self.config.augment, generator)
        with self.compute.autocast():
            logits = self.network(images)
        loss = F.cross_entropy(logits.float(), labels, self.weight, label_smoothing=self.train.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return Outcome(loss.detach(), (logits.argmax(1) == labels).sum(), stop.is_set())

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
        validation = validation_metrics(self.evaluated, self.data.validation, self.compute)
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
        state.next_epoch()
        state.finished = state.epoch == self.train.epochs or self._out_of_patience()
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

    def _save(self) -> None:
        self._settle()
        self.saved = time.monotonic()
        if self.workers.rank:
            return
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
