"""Cut a step's batch into micro-batches, and add up their results in an order that no number of workers changes.

A sum of floating-point numbers depends on its order. Here the order is a binary tree over the micro-batches: a worker
adds those subtrees up that are complete in its own consecutive micro-batches, and what is left is added above them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SMALLEST = 2
"""Images of a micro-batch: batch norm cannot compute a variance from one."""


def cut(chosen: NDArray[np.int64], shards: int) -> list[NDArray[np.int64]]:
    """Cut a batch into consecutive micro-batches whose sizes differ by at most one.

    Args:
        chosen: [n] positions of its images, in the epoch's random order; at least 2.
        shards: the largest number of micro-batches; a small batch has fewer, so that each holds 2 images or more.
    """
    return np.array_split(chosen, max(1, min(shards, len(chosen) // SMALLEST)))


def owned(count: int, rank: int, size: int) -> range:
    """Return which of `count` micro-batches this worker computes: consecutive ones, shared as evenly as can be.

    Args:
        count: micro-batches of the step.
        rank: the worker's number, from 0; worker 0 always has one.
        size: number of workers; where it exceeds `count`, some have none.
    """
    first, end = (-(-number * count // size) for number in (rank, rank + 1))
    return range(first, end)


def draw_seed(seed: int, step: int, shard: int) -> int:
    """Return the seed of a micro-batch's augmentation, 32 bits: that of torch's CPU generator uses no more."""
    return int(np.random.SeedSequence([seed, step, shard]).generate_state(1)[0])


@dataclass(frozen=True)
class Node:
    """A sum over consecutive micro-batches: those from ``index * 2**level`` to ``(index + 1) * 2**level``, exclusive.

    Attributes:
        value: any shape; the same one in all nodes.
        writable: the value may be replaced by a sum; otherwise another worker may be reading it.
    """

    level: int
    index: int
    value: Tensor
    writable: bool = True

    def add(self, other: Node) -> Tensor:
        """Return the sum of both values, in the place of one of them where that is writable.

        The bits are the same in either place: a sum of two numbers does not depend on their order.
        """
        if self.writable:
            return self.value.add_(other.value)
        return other.value.add_(self.value) if other.writable else self.value + other.value


def add_subtrees(nodes: Iterable[Node]) -> list[Node]:
    """Add siblings up as long as there are any; nodes in the order of their micro-batches, without gaps."""
    done: list[Node] = []
    for node in nodes:
        while done and _are_siblings(done[-1], node):
            left = done.pop()
            node = Node(left.level + 1, left.index // 2, left.add(node))
        done.append(node)
    return done


def _are_siblings(left: Node, right: Node) -> bool:
    return left.level == right.level and left.index % 2 == 0 and right.index == left.index + 1


def add_all(nodes: Iterable[Node]) -> Tensor:
    """Return the sum over all micro-batches of a step.

    The trees that remain where their number is no power of two are added from the left.

    Args:
        nodes: of all workers, in the order of their micro-batches; at least one.
    """
    total, *rest = add_subtrees(nodes)
    for node in rest:
        total = Node(total.level, total.index, total.add(node))
    return total.value


def subtrees(parts: range) -> list[tuple[int, int]]:
    """Return level and index of the nodes that `add_subtrees` makes of these micro-batches."""
    found: list[tuple[int, int]] = []
    for part in parts:
        level, index = 0, part
        while found and found[-1] == (level, index - 1) and index % 2:
            found.pop()
            level, index = level + 1, index // 2
        found.append((level, index))
    return found
