"""What every request uses: the model that answers, the threads, the limits, the metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from starlette.requests import Request

from pneumonia.config.service import ServingConfig
from pneumonia.inference.served_model import Answer, ServedModel
from pneumonia.serving.follower import Serving
from pneumonia.serving.keys import Keys
from pneumonia.serving.metrics import Metrics
from pneumonia.serving.pool import Pool, overloaded
from pneumonia.serving.problems import unavailable
from pneumonia.serving.uploads import Uploads

Result = TypeVar("Result")

HOW_TO_MAKE_ONE = "make one with `make run`, which trains, validates and promotes a model"


class Source(Protocol):
    """Where the model that answers comes from: `pneumonia.serving.follower.Follower`."""

    current: Serving | None
    why: str


@dataclass
class Context:
    """What is known of a request.

    Attributes:
        request_id: the client's, or made.
        began: `time.perf_counter` at its header.
        status: of the answer; None before it.
        fields: for the log.
    """

    request_id: str
    began: float
    status: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Service:
    """The parts of a running service.

    Attributes:
        draining: the service is being stopped; it is not ready any more.
    """

    def __init__(self, config: ServingConfig, source: Source, pool: Pool, metrics: Metrics, keys: Keys) -> None:
        self.config, self.source, self.pool, self.metrics, self.keys = config, source, pool, metrics, keys
        self.uploads = Uploads(config)
        self.draining = False
        metrics.ready.set_function(lambda: float(self.unready() is None))
        metrics.waiting.set_function(lambda: pool.waiting)
        metrics.computing.set_function(lambda: pool.admitted - pool.waiting)

    def unready(self) -> str | None:
        """Return why radiographs are not answered, in words; None where they are."""
        if self.draining:
            return "the service is being stopped"
        if self.source.current is None:
            return f"there is no champion to answer with ({self.source.why}); {HOW_TO_MAKE_ONE}"
        return None

    def serving(self) -> Serving:
        """Return the model that answers; a request takes it once.

        Raises:
            Problem: 503, there is none.
        """
        current = self.source.current
        if current is None:
            raise unavailable("no_champion", self.unready() or "", retry_after=10)
        return current

    @asynccontextmanager
    async def turn(self, request: Request) -> AsyncIterator[Context]:
        """Give a request its time, and take back what its body held.

        Raises:
            Problem: 503, the queue is full already, so that the body need not be read; or the time is over.
        """
        if self.pool.full:
            raise overloaded()
        try:
            async with asyncio.timeout(self.config.timeout):
                yield context_of(request)
        except TimeoutError:
            raise unavailable(
                "timeout", f"the request took longer than {self.config.timeout:g} s (serving.timeout); send less"
            ) from None
        finally:
            self.uploads.release(request)

    async def compute(self, jobs: Sequence[Callable[[], Result]]) -> list[Result]:
        """Run one job an image on the threads, all admitted or none."""
        return list(await asyncio.gather(*self.pool.submit(jobs)))

    async def answers(self, model: ServedModel, contents: Sequence[bytes]) -> list[Answer]:
        """Answer images, and count the answers."""
        found = await self.compute([_job(model, content) for content in contents])
        for answer in found:
            self.metrics.count_answer(answer, model.decision(answer))
        return found


def _job(model: ServedModel, content: bytes) -> Callable[[], Answer]:
    return lambda: model.answer(content, "<upload>")


def context_of(request: Request) -> Context:
    """Return what is known of a request."""
    context: Context = request.scope["pneumonia"]
    return context


def service_of(request: Request) -> Service:
    """Return the service that a request has come to."""
    service: Service = request.app.state.service
    return service


def milliseconds_since(began: float) -> float:
    """Return the time since a `time.perf_counter`, ms."""
    return round(1000 * (time.perf_counter() - began), 2)
