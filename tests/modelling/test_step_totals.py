"""Steps are added up in their order, and a device that computes ahead is asked seldom."""

from __future__ import annotations

import torch

from pneumonia.modelling.step_totals import EVERY, StepResult, StepTotals


def test_results_come_in_order_and_once() -> None:
    totals = StepTotals()
    assert totals.settle() == []
    for number in (1, 2):
        totals.add(number, torch.tensor(0.1 * number, requires_grad=True), torch.tensor(number), 3)
    loss = [float(torch.tensor(0.1)), float(torch.tensor(0.2))]
    assert totals.settle() == [StepResult(1, loss[0], 1, 3), StepResult(2, loss[1], 2, 3)]
    assert not totals.due
    assert totals.settle() == []


def test_a_cpu_is_asked_after_each_step_and_another_device_after_many() -> None:
    totals = StepTotals()
    totals.add(1, torch.tensor(0.5), torch.tensor(1), 2)
    assert totals.due
    far = StepTotals()
    for number in range(EVERY):
        assert not far.due
        far.add(number, torch.empty((), device="meta"), torch.empty((), device="meta"), 2)
    assert far.due
