"""Compute the gradient of a batch as micro-batches, by one worker or several, with the same bits.

Each micro-batch is augmented by draws of its own and normalised by its own statistics (ghost batch norm; Hoffer et al.
2017, "Train longer, generalize better"). Its loss is divided by the whole batch's denominator, so that the sum of the
micro-batches' gradients is the batch's. The running statistics take one step per batch, towards the mean of the
micro-batches' means and of their variances, weighted by their images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumonia.config.schema import Config, TrainConfig
from pneumonia.modelling.augment import augment
from pneumonia.modelling.batch_norm import BatchStatistics
from pneumonia.modelling.device import Compute, cores
from pneumonia.modelling.exchange import Exchange
from pneumonia.modelling.schedule import resize_batch
from pneumonia.modelling.sharding import Node, add_all, add_subtrees, cut, draw_seed, owned, subtrees
from pneumonia.modelling.workers import Workers

_LOSS, _CORRECT, _EXTRA = -2, -1, 2  # what follows gradients and statistics in a worker's values


@dataclass(frozen=True)
class Outcome:
    """The results of a step, beside the gradient.

    Attributes:
        loss: mean over the batch, weighted by the classes; a tensor of one number where nobody has waited for it yet.
        correct: images whose class was found; likewise.
        stop: a worker has been asked to end.
    """

    loss: float | Tensor
    correct: int | Tensor
    stop: bool


def sharded_compute(train: TrainConfig, local_rank: int = 0) -> Compute:
    """Return what a worker computes with: `Compute.of` without shards; with them one CPU thread where none are given.

    Args:
        train: the configuration.
        local_rank: the worker's number on its machine; of several GPUs each worker has one.
    """
    compute = Compute.of(train)
    if not train.shards:
        return compute
    if compute.device.type == "cuda":
        compute = replace(compute, device=torch.device("cuda", local_rank % torch.cuda.device_count()))
        torch.cuda.set_device(compute.device)
    return replace(compute, threads=train.threads or 1)


def worker_count(train: TrainConfig) -> int:
    """Return how many processes of this machine compute a training: as configured, or as many as it has use for."""
    if train.workers or not train.shards:
        return max(train.workers, 1)
    compute = sharded_compute(train)
    places = torch.cuda.device_count() if compute.device.type == "cuda" else cores() // compute.threads
    return max(1, min(train.shards, places))


class ShardedStep:
    """The gradient of one batch, computed by all workers together."""

    def __init__(
        self,
        network: nn.Module,
        config: Config,
        compute: Compute,
        workers: Workers,
        weight: Tensor,
        labels: NDArray[np.int64],
        fetch: Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]],
    ) -> None:
        """Lay the gradients of the network's parameters side by side, as views of one tensor.

        Args:
            network: on the device.
            config: the resolved configuration.
            compute: of this worker.
            workers: all of them.
            weight: [2], of each class in the loss.
            labels: int64 [N], of all training images.
            fetch: returns images float [B, H, W] and labels int64 [B] of positions in the training images.
        """
        self._network, self._config, self._compute, self._workers = network, config, compute, workers
        self._weight, self._labels, self._fetch = weight, torch.from_numpy(labels).to(weight.device), fetch
        self._norms = BatchStatistics(network)
        parameters = list(network.parameters())
        self._count = sum(parameter.numel() for parameter in parameters)
        self._values = torch.zeros(self._count + self._norms.count + _EXTRA, device=weight.device)
        start = 0
        for parameter in parameters:
            # with the parameter's strides, so that the optimiser's fused step reads both in the same order
            part = self._values[start : start + parameter.numel()]
            parameter.grad = part.as_strided(parameter.size(), parameter.stride())
            start += parameter.numel()

    def gradient(self, chosen: NDArray[np.int64], done: int, size: int, stop: threading.Event) -> Outcome:
        """Leave the batch's gradient in the parameters, and step the running statistics.

        Args:
            chosen: [n] positions of the images, in the epoch's random order.
            done: steps before this one, in all epochs.
            size: side of the images in pixels.
            stop: set where this worker has been asked to end.

        Raises:
            WorkerLost: another worker is gone.
        """
        parts = cut(chosen, self._config.train.shards)
        denominator = self._weight[self._labels[torch.from_numpy(chosen)]].sum()
        before = self._norms.read()
        with self._norms.of_one_batch():
            nodes = add_subtrees(self._own(parts, denominator, done, size))
        total, stopping = self._all(nodes, len(parts), stop)
        self._values.copy_(total)
        self._norms.step(before, self._values[self._count : _LOSS])
        loss, correct = self._values[[_LOSS, _CORRECT]].tolist()
        return Outcome(loss, round(correct), stopping)

    def _own(self, parts: list[NDArray[np.int64]], denominator: Tensor, done: int, size: int) -> Iterator[Node]:
        images = sum(map(len, parts))
        mine = owned(len(parts), self._workers.rank, self._workers.size)
        for shard in mine:
            self._values.zero_()
            self._backward(parts[shard], shard, denominator, done, size)
            self._values[self._count : _LOSS] = self._norms.read() * (len(parts[shard]) / images)
            yield Node(0, shard, self._values if shard == mine[-1] else self._values.clone())

    def _backward(self, part: NDArray[np.int64], shard: int, denominator: Tensor, done: int, size: int) -> None:
        """Add the gradient of a micro-batch to the values, with its loss and its hits."""
        train = self._config.train
        images, labels = self._fetch(part)
        generator = torch.Generator().manual_seed(draw_seed(train.seed, done, shard))
        images = augment(resize_batch(images, size), self._config.augment, generator)
        with self._compute.autocast():
            logits = self._network(images)
        summed = F.cross_entropy(
            logits.float(), labels, self._weight, reduction="sum", label_smoothing=train.label_smoothing
        )
        loss = summed / denominator
        loss.backward()  # type: ignore[no-untyped-call]
        self._values[_LOSS] = loss.detach()
        self._values[_CORRECT] = (logits.argmax(1) == labels).sum()

    def _all(self, nodes: list[Node], count: int, stop: threading.Event) -> tuple[Tensor, bool]:
        """Return the sum over all workers' micro-batches, and whether one of them is to end."""
        workers = self._workers
        if workers.size == 1:
            return add_all(nodes), stop.is_set()
        places = [subtrees(owned(count, rank, workers.size)) for rank in range(workers.size)]
        found, stopping = self._exchange.gather([node.value for node in nodes], stop.is_set())
        every = [
            Node(level, index, row, writable=False)
            for theirs, place in zip(found, places, strict=True)
            for row, (level, index) in zip(theirs, place, strict=False)
        ]
        first = sum(map(len, places[: workers.rank]))
        every[first : first + len(nodes)] = nodes
        return add_all(every), stopping

    @cached_property
    def _exchange(self) -> Exchange:
        """Agree with all workers on where results go: in the first step, since they first compare what they train."""
        shards, size = self._config.train.shards, self._workers.size
        shares = [owned(count, rank, size) for count in range(1, shards + 1) for rank in range(size)]
        return Exchange(self._workers, max(len(subtrees(share)) for share in shares), len(self._values))
