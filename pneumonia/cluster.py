"""Run functions on a Ray cluster: documents go in, documents come out, and a node that dies costs a repetition.

The only module that imports Ray, which the extra ``cluster`` installs. What is called there is a function of a package
that every machine has installed, in the same version; it must be able to run twice.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, get_args

from pneumonia.credentials import redacted
from pneumonia.errors import ConfigError, PneumoniaError, worth_retrying

RETRIES = 5
"""How often a call is repeated whose node or process has died; what it raises itself is not repeated by Ray."""
TRIES = 3
"""How often a call is made whose error time may repair, such as a server that does not answer."""
SECONDS = 60.0
"""How long is waited for a node to answer a check."""
CONNECT_SECONDS = 10.0
START = "start one with `ray start --head` and name its address, HOST:6379, or ray://HOST:10001 from another network"


EngineName = Literal["local", "ray"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
NO_ROOM_SECONDS = 600.0
"""How long calls wait for a node that they fit, after the last one has died."""


def check_engine(engine: str, address: str | None) -> EngineName:
    """Return the engine of this name; refuse one that does not exist, and an address that would not be used.

    Raises:
        ConfigError: it is so.
    """
    found = next((name for name in ENGINES if name == engine), None)
    if found is None:
        raise ConfigError(f"engine={engine}: write {' or '.join(ENGINES)}")
    if address and engine != "ray":
        raise ConfigError(
            f"address={redacted(address)}: is of a Ray cluster, which engine={engine} does not use; add --engine ray "
            "(engine=ray), or leave the address out"
        )
    return found


class Finished(NamedTuple):
    """A call that has returned.

    Attributes:
        number: of its document, from 0.
        result: what the function returned.
    """

    number: int
    result: Any


class Cluster:
    """A connection to a Ray cluster, for a ``with`` block."""

    def __init__(self, address: str) -> None:
        """Remember the address: ``HOST:6379``, ``ray://HOST:10001``, or ``auto`` for the cluster of this machine.

        Raises:
            ConfigError: it is empty, and RAY_ADDRESS too.
        """
        address = address or os.environ.get("RAY_ADDRESS", "")
        if not address:
            raise ConfigError(f"--engine ray: needs the cluster's address (--address or RAY_ADDRESS); {START}")
        self.address = address

    def __enter__(self) -> Self:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray reports to its makers otherwise
        import ray

        self._check_reachable()
        if ray.is_initialized():
            raise PneumoniaError("this process has a connection to a Ray cluster already; end that first")
        main = threading.current_thread() is threading.main_thread()
        kept = signal.getsignal(signal.SIGTERM) if main else None
        try:
            ray.init(address=self.address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
            words = redacted(" ".join(str(error).split()))[:300]
            raise PneumoniaError(f"{self.address}: no Ray cluster can be used there ({words}); {START}") from error
        if kept is not None:  # Ray's own handler prints its stack before the process ends
            signal.signal(signal.SIGTERM, kept)
        self._ray: Any = ray
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def _check_reachable(self) -> None:
        """Refuse an address where nothing listens: Ray itself tries for many minutes."""
        host, _, port = self.address.removeprefix("ray://").partition("/")[0].rpartition(":")
        if self.address == "auto" or not port.isdecimal():
            return
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise PneumoniaError(
                f"{redacted(self.address)}: no Ray cluster answers there ({error.strerror or error}); {START}"
            ) from None

    def nodes(self) -> dict[str, str]:
        """Return the nodes that are alive and can compute: address by id."""
        found = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
        return {node["NodeID"]: node["NodeManagerAddress"] for node in found}

    def on_every_node(self, function: Callable[[Any], Any], document: Any) -> dict[str, Any]:
        """Call a function once on each node; return what it returned, by the node's id.

        A node that ends meanwhile counts as if it had not been there.

        Raises:
            PneumoniaError: a node does not answer in `SECONDS`, or cannot import the function; or there is none.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        called, nodes = self._ray.remote(function), self.nodes()
        waiting = {
            node: called.options(num_cpus=0, max_retries=0, scheduling_strategy=On(node, soft=False)).remote(document)
            for node in nodes
        }
        found = {}
        for node, reference in waiting.items():
            try:
                found[node] = self._ray.get(reference, timeout=SECONDS)
            except self._ray.exceptions.GetTimeoutError as error:
                raise PneumoniaError(f"node {nodes[node]}: does not answer in {SECONDS:g} s; restart it") from error
            except self._ray.exceptions.RayError as error:
                if node in self.nodes():
                    raise _explained(error, f"node {nodes[node]}") from error
        if not found:
            raise PneumoniaError(f"{self.address}: no node of the cluster has a processor to compute on; start workers")
        return found

    def map(
        self,
        function: Callable[..., Any],
        documents: Iterable[Any],
        shared: Any = None,
        cpus: float = 1,
        gpus: float = 0,
        at_a_time: int = 0,
    ) -> Iterator[Finished]:
        """Call a function with each document, on whichever node has room; yield the calls as they return.

        Args:
            function: ``function(document)``, or ``function(document, shared)`` where `shared` is given.
            documents: taken one by one, so that few are in memory.
            shared: sent to each node once.
            cpus, gpus: that a call needs on its node.
            at_a_time: calls that are under way or waiting; 0: twice as many as the cluster has room for.

        Raises:
            PneumoniaError: what a function raised, or a call whose nodes died again and again.
        """
        self.check_room(cpus, gpus)
        called = self._ray.remote(function).options(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)
        common = () if shared is None else (self._ray.put(shared),)
        left, under_way = enumerate(documents), dict[Any, tuple[int, Any, int]]()
        exhausted = False
        while True:
            room = at_a_time or max(2, int(2 * self.total("CPU") / max(cpus, 0.1)))
            while not exhausted and len(under_way) < room:
                if (taken := next(left, None)) is None:
                    exhausted = True
                    break
                under_way[called.remote(taken[1], *common)] = (*taken, 1)
            if not under_way:
                return
            reference = self._next(list(under_way), cpus, gpus)
            number, document, tries = under_way.pop(reference)
            try:
                result = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                found = _explained(error, f"call {number}")
                if tries >= TRIES or not worth_retrying(found):
                    raise found from None
                under_way[called.remote(document, *common)] = (number, document, tries + 1)
                continue
            yield Finished(number, result)

    def _next(self, under_way: list[Any], cpus: float, gpus: float) -> Any:
        """Wait for a call to return; where no node fits any more for `NO_ROOM_SECONDS`, say so instead."""
        without_room = time.monotonic()
        while True:
            done, _ = self._ray.wait(under_way, num_returns=1, timeout=SECONDS)
            if done:
                return done[0]
            try:
                self.check_room(cpus, gpus)
                without_room = time.monotonic()
            except PneumoniaError:
                if time.monotonic() - without_room > NO_ROOM_SECONDS:
                    raise

    def check_room(self, cpus: float, gpus: float = 0, remedy: str = "") -> None:
        """See that a call fits at least one node: otherwise Ray waits for one without a word.

        Args:
            cpus, gpus: that a call needs on its node.
            remedy: what helps besides another node.

        Raises:
            PneumoniaError: it fits none; the message says what each has.
        """
        sizes = [  # of one address there may be several nodes
            (node["NodeManagerAddress"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        if any(cores >= cpus and devices >= gpus for _, cores, devices in sizes):
            return
        wanted = f"{cpus:g} processor cores" + (f" and {gpus:g} GPU" if gpus else "")
        shown = [
            f"{node}: {cores:g} and {devices:g}" for node, cores, devices in sorted(sizes, key=lambda size: -size[1])
        ]
        more = f"and {len(shown) - 5} more" if len(shown) > 5 else ""
        raise PneumoniaError(
            f"{redacted(self.address)}: no node has the {wanted} that one call takes (cores and GPUs of each: "
            f"{'; '.join([*shown[:5], *filter(None, [more])])}); {remedy + ', or ' if remedy else ''}start a larger "
            "node: ray start --address HOST:6379 --num-cpus N --num-gpus N"
        )

    def total(self, resource: str) -> float:
        """Return how much of a resource, CPU or GPU, all nodes have together."""
        return float(self._ray.cluster_resources().get(resource, 0))

    def smallest(self, resource: str) -> float:
        """Return how much of a resource each node has that has a processor."""
        alive = (node["Resources"] for node in self._ray.nodes() if node["Alive"])
        return min((found.get(resource, 0.0) for found in alive if found.get("CPU", 0) > 0), default=0.0)


def _explained(error: Any, where: str) -> BaseException:
    """Return what a function raised on a node, or what befell the node."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ModuleNotFoundError) or "ModuleNotFoundError" in str(error):
        words = str(cause or error).strip().splitlines()[-1]
        return PneumoniaError(
            f"{where}: {words}; install this release of pneumonia, with the same extras, on every machine"
        )
    if isinstance(cause, BaseException):
        return cause
    words = redacted(" ".join(str(error).split()))[:300]
    return PneumoniaError(
        f"{where}: failed on the cluster {1 + RETRIES} times ({words}); see that its nodes have memory and stay up, "
        "then run the same command again, which repeats no finished work"
    )
