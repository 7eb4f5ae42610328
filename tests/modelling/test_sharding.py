"""Micro-batches: how a batch is cut, that sums do not depend on who adds them up, and that they are the batch's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pneumonia.errors import ConfigError, DataError
from pneumonia.modelling.augment import augment
from pneumonia.modelling.batch_norm import BatchStatistics
from pneumonia.modelling.device import CPU, Compute
from pneumonia.modelling.network import build_network
from pneumonia.modelling.optimizer import build_optimizer, class_weights
from pneumonia.modelling.sharded_step import ShardedStep
from pneumonia.modelling.sharding import Node, add_all, add_subtrees, cut, draw_seed, owned, subtrees
from pneumonia.modelling.training_loop import fit
from pneumonia.modelling.workers import Workers
from tests.support.trainings import FULL, config, make_images, metrics, train

STILL = tuple(f"augment.{change}=0" for change in ("flip", "rotation", "brightness", "contrast"))


@pytest.mark.parametrize(
    ("images", "shards", "sizes"),
    [
        (16, 4, [4, 4, 4, 4]),
        (15, 4, [4, 4, 4, 3]),
        (7, 4, [3, 2, 2]),
        (5, 4, [3, 2]),
        (3, 4, [3]),
        (2, 4, [2]),
        (64, 1, [64]),
    ],
)
def test_a_small_batch_has_fewer_micro_batches_of_two_images_or_more(
    images: int, shards: int, sizes: list[int]
) -> None:
    parts = cut(np.arange(100, 100 + images), shards)
    assert [len(part) for part in parts] == sizes
    assert np.concatenate(parts).tolist() == list(range(100, 100 + images))


@pytest.mark.parametrize("count", range(1, 14))
def test_a_sum_has_the_same_bits_for_any_number_of_workers(count: int) -> None:
    source = torch.Generator().manual_seed(count)
    values = torch.randn(count, 500, generator=source) * 10 ** (4 * torch.rand(count, 1, generator=source))
    found = []
    for size in range(1, count + 3):
        made = []
        for rank in range(size):
            own = owned(count, rank, size)
            made.append(add_subtrees(Node(0, shard, values[shard].clone()) for shard in own))
            assert [(node.level, node.index) for node in made[-1]] == subtrees(own)
        shared = torch.cat([node.value for nodes in made for node in nodes])
        for rank in range(size):  # each of them adds up what others may be reading, and its own
            nodes = [
                Node(node.level, node.index, node.value.clone(), writable=True)
                if number == rank
                else replace(node, writable=False)
                for number, theirs in enumerate(made)
                for node in theirs
            ]
            found.append(add_all(nodes))
        assert torch.equal(torch.cat([node.value for nodes in made for node in nodes]), shared)
    assert all(torch.equal(each, found[0]) for each in found)
    torch.testing.assert_close(found[0], values.sum(0), rtol=1e-4, atol=1e-2)


def test_the_order_of_a_sum_is_what_decides_its_bits() -> None:
    """The test above could not fail with numbers whose sums are exact."""
    values = torch.randn(4, 500, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(
        (values[0] + values[1]) + (values[2] + values[3]), ((values[0] + values[1]) + values[2]) + values[3]
    )


def test_every_micro_batch_has_one_owner_and_worker_0_has_one() -> None:
    for count in range(1, 9):
        for size in range(1, 12):
            shares = [owned(count, rank, size) for rank in range(size)]
            assert [part for share in shares for part in share] == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
            assert len(shares[0])


def test_each_micro_batch_draws_its_own_numbers() -> None:
    seeds = {draw_seed(seed, step, shard) for seed in range(3) for step in range(50) for shard in range(8)}
    assert len(seeds) == 1200


class _Still(nn.Module):
    """The tiny network without batch norm, whose gradient is then the sum of its images'."""

    def __init__(self) -> None:
        super().__init__()
        self.network = build_network("tiny", "none", 0)
        for stage in self.network.stages:  # type: ignore[union-attr]
            stage[1] = nn.Identity()  # type: ignore[index]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(images)
        return found


@pytest.mark.parametrize("shards", [1, 3, 4])
def test_the_gradient_is_that_of_the_whole_batch(shards: int) -> None:
    """With class weights and label smoothing, whose denominator is the whole batch's; 13 images give unequal parts."""
    data = make_images(13, 8).train
    settings = config(*STILL, "train.class_weights=true", "train.label_smoothing=0.1", f"train.shards={shards}")
    weight = class_weights(data.labels, settings.train)
    network, chosen = _Still(), np.random.default_rng(0).permutation(13)
    images = torch.from_numpy(data.pixels[data.rows]).float() / 255
    labels = torch.from_numpy(data.labels)
    loss = F.cross_entropy(network(images), labels, weight, label_smoothing=0.1)
    loss.backward()
    expected = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    step = ShardedStep(
        network, settings, CPU, Workers(), weight, data.labels, lambda part: (images[part], labels[part])
    )
    outcome = step.gradient(chosen, 0, 32, threading.Event())
    assert outcome.loss == pytest.approx(loss.item(), rel=1e-6)
    assert outcome.correct == int((network(images).argmax(1) == labels).sum())
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-6)


def test_running_statistics_take_one_step_towards_the_micro_batches_means(tmp_path: Path) -> None:
    data = make_images(16, 8).train
    images, labels = torch.from_numpy(data.pixels[data.rows]).float() / 255, torch.from_numpy(data.labels)
    network = build_network("tiny", "none", 0)
    settings = config(*STILL, "train.shards=3")
    step = ShardedStep(
        network, settings, CPU, Workers(), torch.ones(2), data.labels, lambda part: (images[part], labels[part])
    )
    chosen = np.arange(15)[::-1].copy()
    first = network.stages[0]  # type: ignore[index]
    seen = [first[0]((images[part].unsqueeze(1) - 0.5) * 4) for part in np.array_split(chosen, 3)]
    mean = sum(each.mean((0, 2, 3)) for each in seen) / 3
    variance = sum(each.var((0, 2, 3)) for each in seen) / 3
    step.gradient(chosen, 0, 32, threading.Event())
    torch.testing.assert_close(first[1].running_mean, 0.1 * mean)
    torch.testing.assert_close(first[1].running_var, 0.9 + 0.1 * variance)
    assert int(first[1].num_batches_tracked) == 1
    assert first[1].momentum == 0.1


def _gradient_on(device: str) -> list[torch.Tensor]:
    data = make_images(16, 8).train
    images = torch.from_numpy(data.pixels[data.rows]).float().div(255).to(device)
    labels = torch.from_numpy(data.labels).to(device)
    network = build_network("tiny", "none", 0).to(device)
    settings, compute = config(*STILL, "train.shards=4"), Compute(torch.device(device))
    weight = class_weights(data.labels, settings.train).to(device)
    step = ShardedStep(
        network, settings, compute, Workers(), weight, data.labels, lambda part: (images[part], labels[part])
    )
    step.gradient(np.arange(16), 0, 32, threading.Event())
    return [parameter.grad.cpu() for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.cuda
def test_a_gpu_gives_the_gradient_of_the_cpu_within_a_tolerance() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    for found, expected in zip(_gradient_on("cuda"), _gradient_on("cpu"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_statistics_are_read_and_stepped_in_the_same_order() -> None:
    network = build_network("tiny", "none", 0)
    statistics = BatchStatistics(network)
    before, batch = torch.arange(statistics.count).float(), torch.arange(statistics.count).float() + 10
    statistics.step(before, batch)
    torch.testing.assert_close(statistics.read(), before + 1)


# ---- trainings


@pytest.fixture
def plainly() -> Iterator[None]:
    """One thread, as the trainings of these tests have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("plainly")
def test_with_shards_off_a_step_is_bit_for_bit_what_it_was(tmp_path: Path) -> None:
    """Against the step before there were shards, written out here."""
    data = make_images(40, 8)
    settings = config("train.class_weights=true", "train.label_smoothing=0.1", "train.optimizer=adamw")
    network = build_network("tiny", "none", 0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(network, settings.train)
    weight = class_weights(data.train.labels, settings.train)
    order = np.random.default_rng([0, 0]).permutation(40)
    for number, chosen in enumerate((order[:16], order[16:32], order[32:])):
        batch = data.train.take(np.sort(chosen))
        images = torch.from_numpy(batch.pixels[batch.rows]).float().div_(255)
        images = augment(images, settings.augment, torch.Generator().manual_seed(number))
        loss = F.cross_entropy(network(images), torch.from_numpy(batch.labels), weight, label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    fitted = fit(data, settings.model_copy(update={"train": settings.train}), tmp_path, "key")
    expected = dict(network.named_parameters())
    assert all(torch.equal(fitted.state[name], value) for name, value in expected.items())


def test_a_sharded_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    sharded = (*FULL, "train.epochs=2", "train.shards=4", "train.workers=1")
    whole = train(tmp_path / "whole", None, *sharded)

    def on_step(done: int, total: int) -> None:
        if done == 5:
            raise ConnectionError("away")

    settings = config(*sharded, "train.checkpoint_seconds=86400")
    with pytest.raises(ConnectionError):
        fit(make_images(), settings, tmp_path / "cut", "key", on_step=on_step)
    again = fit(make_images(), settings, tmp_path / "cut", "key")
    assert again.resumed
    assert (again.weights_digest, metrics(again.history)) == (whole.weights_digest, metrics(whole.history))
    assert whole.computed_with[0].endswith("1 threads")
    unsharded = train(tmp_path / "off", None, *FULL, "train.epochs=2")
    assert unsharded.weights_digest != whole.weights_digest


def test_a_checkpoint_is_due_by_the_clock_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr("pneumonia.modelling.training_loop.time.monotonic", lambda: float(next(clock)))
    settings = config(*FULL, "train.epochs=2", "train.checkpoint_seconds=60")

    def on_step(done: int, total: int) -> None:
        if done == 6:
            raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        fit(make_images(), settings, tmp_path, "key", on_step=on_step)
    monkeypatch.undo()
    steps: list[int] = []
    fitted = fit(make_images(), settings, tmp_path, "key", on_step=lambda done, total: steps.append(done))
    assert steps[0] == 6, "the second epoch, of steps 4 to 6, was saved in its middle"
    assert fitted.weights_digest == train(tmp_path / "whole", None, *FULL, "train.epochs=2").weights_digest


# ---- refusals


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("train.workers=2",), r"train\.workers \(from --set\): 2 workers need as many shards, and there are 0; set "),
        (
            ("train.shards=2", "train.workers=4"),
            "4 workers need as many shards, and there are 2; set .* fewer workers$",
        ),
        (("train.shards=9",), r"train\.shards \(from --set\): a batch of 16 images gives 8 .* not 9; .*batch_size$"),
    ],
)
def test_what_cannot_be_is_refused(settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(*settings)


def test_a_launcher_of_more_processes_than_shards_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"train\.shards=2: 3 processes were started .* set train\.shards=3"):
        train(tmp_path, make_images(16, 8), "train.shards=2")
    assert not list(tmp_path.iterdir())


def test_workers_that_train_different_things_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(0, 2)
    theirs = torch.frombuffer(bytearray(b"other\nCPU".ljust(512)), dtype=torch.uint8)
    monkeypatch.setattr(Workers, "gather", lambda self, values: [values, theirs])
    with pytest.raises(DataError, match="worker 1 is to train other, worker 0 key: give all of them the same images"):
        workers.check_same("key", "CPU")
    assert workers.check_same("other", "GPU") == ["GPU", "CPU"]
