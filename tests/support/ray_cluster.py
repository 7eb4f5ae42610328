"""A Ray cluster for tests: a head without processors, and two nodes of one each, which can be killed."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STORE_BYTES = 80_000_000
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_prestart_worker_first_driver": "0",  # no process before there is work
    "RAY_enable_worker_prestart": "0",
    "RAY_raylet_start_wait_time_s": "300",
    "OMP_NUM_THREADS": "1",
}


class Nodes:
    """The cluster, and its nodes that compute."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address = str(cluster.address)
        self.alive: list[Any] = []

    def add(self) -> Any:
        """Start a node of one processor."""
        node = self._cluster.add_node(
            num_cpus=1, include_dashboard=False, object_store_memory=STORE_BYTES, dashboard_agent_listen_port=0
        )
        self.alive.append(node)
        return node

    def kill(self) -> int:
        """Kill a node without a warning, with the processes on it; return its raylet's process id."""
        node = self.alive.pop()
        pid = int(node.all_processes["raylet"][0].process.pid)
        os.kill(pid, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)
        return pid

    def make_two(self) -> None:
        """See that there are two nodes again."""
        while len(self.alive) < 2:
            self.add()


@contextmanager
def running() -> Iterator[Nodes]:
    """Run a cluster; its processes see this checkout."""
    kept = dict(os.environ)
    os.environ.update(SETTINGS, PYTHONPATH=f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own
            from ray.cluster_utils import Cluster

            head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
            cluster = Cluster(initialize_head=True, head_node_args=head)
        nodes = Nodes(cluster)
        try:
            nodes.make_two()
            yield nodes
        finally:
            cluster.shutdown()
            time.sleep(0.1)
    finally:
        os.environ.clear()
        os.environ.update(kept)
