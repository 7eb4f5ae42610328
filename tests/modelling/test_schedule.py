"""Schedule, optimiser, class weights and the moving average."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pneumonia.config.schema import TrainConfig
from pneumonia.modelling.ema import MovingAverage
from pneumonia.modelling.optimizer import build_optimizer, class_weights
from pneumonia.modelling.schedule import image_side, learning_rate, resize_batch


def rates(steps: int = 10, **changes: object) -> list[float]:
    train = TrainConfig.model_validate({"learning_rate": 0.01, "epochs": 4} | changes)
    return [learning_rate(train, done, steps) for done in range(train.epochs * steps)]


def test_a_constant_rate_is_constant() -> None:
    assert set(rates()) == {0.01}


def test_a_warm_up_rises_in_equal_steps_to_the_peak() -> None:
    found = rates(warmup_epochs=2)
    assert found[:20] == pytest.approx(np.arange(1, 21) * 0.01 / 20)
    assert set(found[20:]) == {0.01}


@pytest.mark.parametrize("warmup", [0.05, 0.25, 0.33, 1.55])
def test_a_warm_up_of_part_of_an_epoch_never_exceeds_the_peak(warmup: float) -> None:
    found = rates(warmup_epochs=warmup, schedule="cosine")
    assert max(found) <= 0.01
    assert found.index(max(found)) <= 10 * warmup


def test_a_cosine_falls_to_nothing() -> None:
    found = rates(schedule="cosine", warmup_epochs=1)
    fall = found[10:]
    assert fall[0] == 0.01
    assert fall == sorted(fall, reverse=True)
    assert fall[15] == pytest.approx(0.005)  # half way
    assert 0 < fall[-1] < 0.01 * 0.01


def test_a_cosine_with_nothing_but_warm_up_does_not_divide_by_zero() -> None:
    assert rates(schedule="cosine", warmup_epochs=100)[-1] == pytest.approx(0.01 * 40 / 1000)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, bias=True), nn.BatchNorm2d(4))


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_only_weights_of_several_dimensions_decay(name: str, kind: type) -> None:
    train = TrainConfig(optimizer=name, weight_decay=0.1, learning_rate=0.01)  # type: ignore[arg-type]
    net = network()
    made = build_optimizer(net, train)
    assert type(made) is kind
    decay = {id(parameter): group["weight_decay"] for group in made.param_groups for parameter in group["params"]}
    assert {name: decay[id(parameter)] for name, parameter in net.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }


def test_a_step_of_adamw_is_the_published_one() -> None:
    train = TrainConfig(optimizer="adamw", weight_decay=0.1, learning_rate=0.01)
    net = network()
    before = [parameter.detach().double() for parameter in net.parameters()]
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    build_optimizer(net, train).step()
    for old, parameter in zip(before, net.parameters(), strict=True):
        gradient = parameter.grad.double()  # type: ignore[union-attr]
        decayed = old * (1 - 0.01 * 0.1) if parameter.ndim > 1 else old
        expected = decayed - 0.01 * gradient / (gradient.abs() + 1e-8)  # both moments are unbiased at the first step
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-7)


def test_class_weights_make_the_classes_weigh_the_same() -> None:
    labels = np.array([0] * 30 + [1] * 90)
    weights = class_weights(labels, TrainConfig(class_weights=True))
    assert weights.dtype == torch.float32
    assert weights[0] * 30 == weights[1] * 90
    assert float(weights[labels].mean()) == pytest.approx(1)
    assert class_weights(labels, TrainConfig()).tolist() == [1, 1]


def test_an_average_is_short_at_first_and_then_its_decay() -> None:
    net = network()
    average = MovingAverage(net, decay=0.5)
    weight = dict(average.network.named_parameters())["0.weight"]
    expected = weight.detach().clone()
    for done in range(12):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_()
        average.update(done)
        decay = min(0.5, (1 + done) / (10 + done))
        expected = decay * expected + (1 - decay) * dict(net.named_parameters())["0.weight"].detach()
        torch.testing.assert_close(weight.detach(), expected)
    assert decay == 0.5


def test_an_average_follows_statistics_and_counts_and_leaves_the_followed_alone() -> None:
    net = network()
    average = MovingAverage(net, decay=0.9)
    net(torch.rand(4, 1, 8, 8))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    average.update(0)
    averaged = average.network.state_dict()
    assert int(averaged["1.num_batches_tracked"]) == 1
    torch.testing.assert_close(averaged["1.running_mean"], 0.9 * net.state_dict()["1.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_films_grow_by_32_pixels_and_the_last_third_is_trained_at_the_whole() -> None:
    train = TrainConfig(epochs=9, start_size=128)
    sides = [image_side(train, 224, done, 10) for done in range(90)]
    assert sorted(set(sides)) == [128, 160, 192, 224]
    assert sides == sorted(sides)
    assert sides[59:61] == [192, 224]
    assert sides.count(128) == sides.count(160) == sides.count(192) == 20


@pytest.mark.parametrize(("start", "full"), [(0, 224), (128, 128), (128, 96)])
def test_films_that_have_nowhere_to_grow_from_are_whole_throughout(start: int, full: int) -> None:
    train = TrainConfig(epochs=3, start_size=start)
    assert {image_side(train, full, done, 10) for done in range(30)} == {full}


def test_shrinking_keeps_the_mean_and_a_film_of_the_right_size() -> None:
    films = torch.rand(2, 96, 96, generator=torch.Generator().manual_seed(0))
    assert resize_batch(films, 96) is films
    small = resize_batch(films, 32)
    assert small.shape == (2, 32, 32)
    torch.testing.assert_close(small.mean((1, 2)), films.mean((1, 2)), atol=5e-3, rtol=0)
    assert small.std() < films.std() / 2, "averaged, not picked"
