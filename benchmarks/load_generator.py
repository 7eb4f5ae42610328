"""Send prepared HTTP requests and report what came back: the second process of `benchmarks/serving.py`.

python benchmarks/load_generator.py FOLDER PORT… [--connections N] [--rate R] [--seconds S] [--warm S]

FOLDER holds one whole POST request a file, header and body; they are sent in turns, over connections that are kept
open. Without --rate each connection sends its next request when the answer is there (closed loop: finds the capacity).
With --rate requests are due at random times with that mean rate (open loop, as a crowd of clients that know nothing of
each other), and the time of an answer counts from when the request was due, however late it was sent. The first --warm
seconds are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import socket
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEED = 13
TIMEOUT = 30.0
"""Seconds that answers are waited for after the last request."""


@dataclass
class Tally:
    """What came back: the time of each answer, ms, by status; 0 stands for a connection that was lost.

    Requests that were due before `began` or after `until` are in `answered` alone.
    """

    began: float
    until: float
    times: dict[int, list[float]] = field(default_factory=dict)
    answered: int = 0
    unanswered: int = 0
    wrong: int = 0

    def count(self, due: float, status: int, body: bytes) -> None:
        """Count an answer; one of 200 must hold a probability."""
        now = time.perf_counter()
        self.answered += status == 200
        if not self.began <= due < self.until:
            return
        if status == 200 and b"probability" not in body:
            self.wrong += 1
        self.times.setdefault(status, []).append(1000 * (now - due))


class Connection(asyncio.Protocol):
    """A connection that is kept open and sends one request at a time."""

    def __init__(self, load: Load, port: int) -> None:
        self.load, self.port = load, port
        self.transport: asyncio.Transport | None = None
        self.due: float | None = None
        self.received = bytearray()
        self.length = -1
        self.status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the size of the kernel's buffer, so that a request is handed over at once."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)

    def send(self, due: float, request: bytes) -> None:
        """Send a request that was due at that time."""
        assert self.transport is not None
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read the answer; it must say its length."""
        self.received += data
        if self.length < 0:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.received[:end]).lower()
            self.status = int(head[9:12])
            self.length = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(self.received) >= self.length:
            body, due = bytes(self.received), self.due
            self.received.clear()
            self.length, self.due = -1, None
            if due is not None:
                self.load.tally.count(due, self.status, body)
            self.load.free(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Count a request that is not answered any more, and connect again."""
        if self.due is not None:
            self.load.tally.count(self.due, 0, b"")
            self.due = None
        self.load.replace(self)


class Load:
    """The connections, and what they send."""

    def __init__(self, requests: list[bytes], ports: list[int], given: argparse.Namespace) -> None:
        self.requests, self.ports, self.given = requests, ports, given
        self.idle: list[Connection] = []
        self.late: deque[float] = deque()
        self.sent = 0
        self.over = False
        now = time.perf_counter()
        self.tally = Tally(now + given.warm, now + given.warm + given.seconds)

    async def connect(self, port: int) -> None:
        """Open a connection."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self, port), "127.0.0.1", port)
        self.free(connection)

    def replace(self, lost: Connection) -> None:
        """Open a connection in place of a lost one."""
        if lost in self.idle:
            self.idle.remove(lost)
        if not self.over:
            self._task = asyncio.ensure_future(self.connect(lost.port))

    def free(self, connection: Connection) -> None:
        """Give a connection that waits its next request."""
        if self.over or connection.transport is None or connection.transport.is_closing():
            return
        if self.late:
            self._send(connection, self.late.popleft())
        elif self.given.rate:
            self.idle.append(connection)
        else:
            self._send(connection, time.perf_counter())

    def _send(self, connection: Connection, due: float) -> None:
        connection.send(due, self.requests[self.sent % len(self.requests)])
        self.sent += 1

    async def run(self) -> None:
        """Send until the time is over, then wait for the answers."""
        for number in range(self.given.connections):
            await self.connect(self.ports[number % len(self.ports)])
        if self.given.rate:
            await self._at_random()
        else:
            await asyncio.sleep(max(0.0, self.tally.until - time.perf_counter()))
        self.over = True

    async def _at_random(self) -> None:
        draw = random.Random(SEED)
        due = time.perf_counter()
        while due < self.tally.until:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if self.idle:
                self._send(self.idle.pop(), due)
            else:
                self.late.append(due)
            due += draw.expovariate(self.given.rate)
        ends = time.perf_counter() + TIMEOUT
        while len(self.idle) < self.given.connections and time.perf_counter() < ends:
            await asyncio.sleep(0.01)
        self.tally.unanswered = len(self.late) + self.given.connections - len(self.idle)


def report(load: Load, cpu: float, seconds: float) -> dict[str, Any]:
    """Return rates and times."""
    tally, given = load.tally, load.given
    counts = Counter({status: len(times) for status, times in tally.times.items()})
    found: dict[str, Any] = {
        "per_second": round(counts[200] / given.seconds, 1),
        "statuses": {str(status): counts[status] for status in sorted(counts)},
        "answered_in_all": tally.answered,
        "unanswered": tally.unanswered,
        "wrong": tally.wrong,
        "generator_cpu_share": round(cpu / seconds, 3),
    }
    for status, times in tally.times.items():
        times.sort()
        found[f"ms_{status}"] = {
            name: round(times[min(len(times) - 1, int(share * len(times)))], 1)
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: as fast as they are answered")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm", type=float, default=1.0)
    given = parser.parse_args()
    requests = [path.read_bytes() for path in sorted(given.folder.iterdir())]
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    load = Load(requests, given.ports, given)
    asyncio.run(load.run())
    now = resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    print(json.dumps(report(load, cpu, time.perf_counter() - began)))


if __name__ == "__main__":
    main()
