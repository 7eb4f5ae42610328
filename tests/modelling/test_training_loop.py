"""The training loop: what it learns, what it keeps, what it refuses, and that it can be cut off anywhere."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from pneumonia.config.schema import AugmentConfig
from pneumonia.errors import DataError, TrainingInterrupted
from pneumonia.modelling import training_loop
from pneumonia.modelling.augment import augment
from pneumonia.modelling.checkpoint import load_checkpoint
from pneumonia.modelling.fitted import Fitted
from pneumonia.modelling.network import build_network
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.modelling.training_loop import fit
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.weights import state_digest
from pneumonia.records.epoch import Epoch
from tests.support.reference import three_channels, torchvision_resnet18
from tests.support.trainings import FULL, config, make_images, metrics, train

CHECKPOINT = "checkpoint.safetensors"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Two epochs with every part of the recipe, uninterrupted."""
    return train(tmp_path_factory.mktemp("reference"), None, *FULL, "train.epochs=2")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """One step."""
    return train(tmp_path_factory.mktemp("short"), make_images(16, 8))


def same(one: Fitted, other: Fitted) -> bool:
    return one.weights_digest == other.weights_digest and metrics(one.history) == metrics(other.history)


# ---- what it comes to


def test_it_learns(tmp_path: Path) -> None:
    fitted = train(
        tmp_path, make_images(64, 32), "train.epochs=6", "train.bn_recalibration_images=64", "train.learning_rate=0.003"
    )
    assert fitted.history[-1].train_loss < 0.5 * fitted.history[0].train_loss
    assert max(epoch.auroc for epoch in fitted.history) > 0.9


def test_a_history_counts_epochs_and_keeps_the_best(reference: Fitted) -> None:
    assert [epoch.epoch for epoch in reference.history] == [1, 2]
    losses = [epoch.val_loss for epoch in reference.history]
    assert reference.best_epoch == 1 + losses.index(min(losses))
    assert reference.weights_digest == state_digest(reference.state)
    assert not reference.resumed


def test_an_epochs_metrics_are_those_of_its_weights(tmp_path: Path) -> None:
    data = make_images(validation=40)
    fitted = train(tmp_path, data, "operating_point.threshold=0.6")
    (epoch,) = fitted.history
    network = build_network("tiny", "none", 0)
    network.load_state_dict(fitted.state)
    positive = predict_probabilities(network, data.validation.pixels, data.validation.rows)
    labels = data.validation.labels
    called = positive >= 0.5  # an operating point is no part of a training
    assert epoch.val_loss == pytest.approx(F.nll_loss(_log(positive), torch.from_numpy(labels)).item(), rel=1e-5)
    assert epoch.val_accuracy == np.mean(called == labels)
    assert epoch.auroc == pytest.approx(roc_auc_score(labels, positive))
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert getattr(epoch, name) == pytest.approx(score(labels, called, zero_division=0)), name
    assert epoch.learning_rate == 0.001
    assert epoch.images_per_second > 0
    assert 0 <= epoch.data_wait < 1


def _log(positive: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([1 - positive, positive], 1)).log()


@pytest.mark.integration  # it trains ResNet18
def test_one_epoch_is_the_plain_loop(tmp_path: Path) -> None:
    """Against the same epoch written as a textbook has it: no fused step, no cheap way in, no moving average."""
    data, still = (
        make_images(40, 16),
        [f"augment.{change}=0" for change in ("flip", "rotation", "brightness", "contrast")],
    )
    # a rate so low that Adam, which divides by a gradient's size, does not blow up differences in rounding
    loss = [
        "train.class_weights=true",
        "train.label_smoothing=0.1",
        "train.learning_rate=1e-5",
        "train.bn_recalibration_images=0",
    ]
    fitted = train(tmp_path, data, *still, *loss, "model.architecture=resnet18")
    network = torchvision_resnet18(build_network("resnet18", "none", 0))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5, fused=False, foreach=False)
    weight = torch.tensor([40 / (2 * 10), 40 / (2 * 30)])
    order = np.random.default_rng([0, 0]).permutation(len(data.train))
    total = 0.0
    for batch in (order[:16], order[16:32], order[32:]):
        images = data.train.take(np.sort(batch))
        labels = torch.from_numpy(images.labels)
        logits = network(three_channels(torch.from_numpy(images.pixels[images.rows]) / 255))
        loss = F.cross_entropy(logits, labels, weight, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    assert fitted.history[0].train_loss == pytest.approx(total / 40, rel=1e-4)
    start, expected = build_network("resnet18", "none", 0).state_dict(), network.state_dict()
    for name, value in fitted.state.items():
        moved, should = (value - start[name]).double(), (expected[name] - start[name]).double()
        assert float((moved - should).norm()) <= 0.05 * float(should.norm()), name


def test_the_moving_average_is_what_is_judged_and_kept(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", None, "train.ema_decay=0")
    averaged = train(tmp_path / "averaged", None, "train.ema_decay=0.9")
    assert averaged.history[0].train_loss == plain.history[0].train_loss, "the average does not touch the training"
    assert averaged.history[0].val_loss != plain.history[0].val_loss
    assert averaged.weights_digest != plain.weights_digest
    first = "stages.0.0.weight"
    start = build_network("tiny", "none", 0).state_dict()[first]
    distance = [float((fitted.state[first] - start).norm()) for fitted in (averaged, plain)]
    assert 0 < distance[0] < distance[1]


@pytest.mark.parametrize("part", ["class_weights=true", "label_smoothing=0.2"])
def test_a_part_of_the_loss_changes_the_weights(tmp_path: Path, short: Fitted, part: str) -> None:
    other = train(tmp_path, make_images(16, 8), f"train.{part}")
    assert other.weights_digest != short.weights_digest
    assert other.history[0].train_loss != short.history[0].train_loss


def test_patience_ends_a_training_that_gets_no_better(tmp_path: Path) -> None:
    data = make_images(16, 8)
    turned = dataclasses.replace(
        data, validation=dataclasses.replace(data.validation, labels=1 - data.validation.labels)
    )
    fitted = train(tmp_path, turned, "train.epochs=30", "train.patience=2", "train.bn_recalibration_images=16")
    assert len(fitted.history) == fitted.best_epoch + 2 < 30


def test_patience_waits_for_the_full_image_size(tmp_path: Path) -> None:
    """Small images only prepare: a training that ends on them has never seen what it is validated on."""
    data = make_images(16, 8, side=64)
    turned = dataclasses.replace(
        data, validation=dataclasses.replace(data.validation, labels=1 - data.validation.labels)
    )
    growing = ("preprocess.size=64", "train.progressive_start_size=32", "train.bn_recalibration_images=16")
    fitted = train(tmp_path, turned, *growing, "train.epochs=12", "train.patience=1")
    assert fitted.best_epoch < 7, "patience had run out long before"
    assert len(fitted.history) == 9, "the last third of the training uses the full size: its first epoch is the ninth"


def test_a_finished_training_keeps_its_result_and_nothing_else(tmp_path: Path) -> None:
    one = train(tmp_path, make_images(16, 8), *FULL)
    found = load_checkpoint(tmp_path / CHECKPOINT, "key")
    assert found is not None
    state, groups = found
    assert set(groups) == {"best"}
    assert (state.finished_at, tuple(state.computed_with)) == (one.finished_at, one.computed_with)
    assert "1 threads" in one.computed_with[0]


def test_a_last_image_alone_is_left_out(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    fit(make_images(33, 8), config(), tmp_path, "key", on_step=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]


# ---- the seed


def test_a_seed_names_a_training(tmp_path: Path, reference: Fitted) -> None:
    torch.manual_seed(4)
    np.random.seed(4)
    assert same(train(tmp_path / "again", None, *FULL, "train.epochs=2"), reference)
    other = train(tmp_path / "other", None, *FULL, "train.epochs=2", "train.seed=1")
    assert other.weights_digest != reference.weights_digest
    assert metrics(other.history) != metrics(reference.history)


def test_each_step_draws_its_own_augmentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draws depend on seed and step alone, which is what makes a resumed training exact."""
    drawn: list[int] = []

    def watched(images: torch.Tensor, chosen: AugmentConfig, source: torch.Generator) -> torch.Tensor:
        drawn.append(source.initial_seed())
        return augment(images, chosen, source)

    monkeypatch.setattr("pneumonia.modelling.training_loop.augment", watched)
    train(tmp_path / "0", make_images(16, 8), "train.epochs=2", "train.batch_size=8")
    train(tmp_path / "1", make_images(16, 8), "train.seed=1")
    assert len(drawn) == len(set(drawn)) == 5


def test_images_grow_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []

    def seen(images: torch.Tensor, *rest: object) -> torch.Tensor:
        sides.append(tuple(images.shape[1:]))
        return images

    monkeypatch.setattr("pneumonia.modelling.training_loop.augment", seen)
    train(tmp_path, make_images(side=64), "preprocess.size=64", "train.progressive_start_size=32", "train.epochs=3")
    assert sides == [(32, 32)] * 6 + [(64, 64)] * 3


def test_the_pixels_may_be_a_read_only_map(tmp_path: Path, short: Fitted) -> None:
    data = make_images(16, 8)
    np.save(tmp_path / "pixels.npy", data.train.pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    parts = (dataclasses.replace(part, pixels=mapped) for part in (data.train, data.validation))
    assert same(train(tmp_path, TrainingSet(*parts)), short)


# ---- cut off and gone on with


def test_it_goes_on_after_an_exception(tmp_path: Path, reference: Fitted) -> None:
    told: list[int] = []

    def on_step(done: int, total: int) -> None:
        assert total == 6
        if done == 5:
            raise ConnectionError("the tracker is away")

    settings = config(*FULL, "train.epochs=2")
    with pytest.raises(ConnectionError):
        fit(make_images(), settings, tmp_path, "key", on_step=on_step)
    fitted = fit(make_images(), settings, tmp_path, "key", on_epoch=lambda epoch: told.append(epoch.epoch))
    assert fitted.resumed
    assert told == [1, 2], "a finished epoch is reported again, for a tracker that missed it"
    assert same(fitted, reference)


@pytest.mark.parametrize("step", [1, 4])
def test_it_stops_on_sigterm_after_the_step_and_goes_on_with_the_next(
    tmp_path: Path, reference: Fitted, step: int
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    settings = config(*FULL, "train.epochs=2")
    with pytest.raises(TrainingInterrupted, match=f"stopped in epoch {(step + 2) // 3}") as stopped:
        fit(make_images(), settings, tmp_path, "key", on_step=lambda done, total: _terminate(done == step))
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    steps: list[int] = []
    fitted = fit(make_images(), settings, tmp_path, "key", on_step=lambda done, total: steps.append(done))
    assert steps == list(range(step + 1, 7))
    assert same(fitted, reference)


def _terminate(now: bool) -> None:
    if now:
        signal.raise_signal(signal.SIGTERM)


def test_sigterm_at_the_end_of_an_epoch_is_not_lost(tmp_path: Path, reference: Fitted) -> None:
    settings = config(*FULL, "train.epochs=2")

    def on_epoch(epoch: Epoch) -> None:
        _terminate(epoch.epoch == 2)

    with pytest.raises(TrainingInterrupted, match="stopped after epoch 2"):
        fit(make_images(), settings, tmp_path, "key", on_epoch)
    steps: list[int] = []
    fitted = fit(make_images(), settings, tmp_path, "key", on_step=lambda done, total: steps.append(done))
    assert steps == []
    assert same(fitted, reference)


def test_a_finished_training_is_handed_back(tmp_path: Path) -> None:
    one = train(tmp_path, make_images(16, 8))
    written = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    other = train(tmp_path, make_images(16, 8))
    assert other.resumed
    assert one.history == other.history
    assert one.weights_digest == other.weights_digest
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == written


def test_a_thread_can_train(tmp_path: Path, short: Fitted) -> None:
    found: list[Fitted] = []
    worker = threading.Thread(target=lambda: found.append(train(tmp_path, make_images(16, 8))))
    worker.start()
    worker.join()
    assert same(found[0], short)


# ---- refusals


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train(tmp_path, make_images(16, 8))
    with pytest.raises(DataError, match="belongs to another training"):
        fit(make_images(16, 8), config(), tmp_path, "another key")


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    train(tmp_path, make_images(16, 8))
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"is damaged .* remove it to start the training again"):
        train(tmp_path, make_images(16, 8))


def test_a_loss_that_is_no_number_is_told_at_once(tmp_path: Path) -> None:
    steps: list[int] = []
    settings = config("train.learning_rate=1", "train.weight_decay=1", "train.optimizer=adamw", "train.epochs=30")
    data = make_images(64, 8)
    told = r"the loss is (nan|inf) in epoch \d+, (step \d+|validation); lower train\.learning_rate \(1\.0\) or set "
    with pytest.raises(DataError, match=told), _exploding():
        fit(data, settings, tmp_path, "key", on_step=lambda done, total: steps.append(done))
    assert steps == [1], "the second step sees it"


class _exploding:  # noqa: N801 - a context
    """Let the optimiser leave infinite weights, as a rate far too high does sooner or later."""

    def __enter__(self) -> None:
        self.made = training_loop.build_optimizer

        def broken(*given: object) -> torch.optim.Optimizer:
            made = self.made(*given)  # type: ignore[arg-type]
            made.register_step_post_hook(lambda *_: made.param_groups[0]["params"][0].data.fill_(math.inf))
            return made

        training_loop.build_optimizer = broken  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        training_loop.build_optimizer = self.made


def _only(part: str, label: int) -> Callable[[TrainingSet], TrainingSet]:
    def change(data: TrainingSet) -> TrainingSet:
        images = getattr(data, part)
        return dataclasses.replace(data, **{part: images.take(np.flatnonzero(images.labels == label))})

    return change


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_split_without_both_classes_is_refused(tmp_path: Path, part: str, label: int) -> None:
    name = {"train": "training", "validation": "validation"}[part]
    with pytest.raises(DataError, match=rf"the {name} split has \d+ images and not both classes; give more images"):
        train(tmp_path, _only(part, label)(make_images()))
    assert not (tmp_path / CHECKPOINT).exists()


def test_bf16_trains_as_well(tmp_path: Path) -> None:
    fitted = train(tmp_path, make_images(16, 8), "train.precision=bf16")
    assert fitted.state["fc.weight"].dtype == torch.float32
    assert math.isfinite(fitted.history[0].train_loss)
    assert same(train(tmp_path / "again", make_images(16, 8), "train.precision=bf16"), fitted)
