"""What every request uses: the model that answers, the threads, the limits, the metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from starlette.requests import Request

from pneumonia.config.service import ServingConfig
from pneumonia.inference.served_model import Answer, ServedModel
from pneumonia.serving.follower import Serving
from pneumonia.serving.keys import Keys
from pneumonia.serving.metrics import Metrics
from pneumonia.serving.monitoring import Monitoring
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
        key: sha256 of the API key that was given; empty without keys.
    """

    request_id: str
    began: float
    status: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    key: bytes = b""


class Recorded(NamedTuple):
    """An answer, and the id of its event; None where none was recorded."""

    answer: Answer
    event: str | None


class Service:
    """The parts of a running service.

    Attributes:
        monitoring: records the answers; None where nothing is recorded.
        draining: the service is being stopped; it is not ready any more.
    """

    def __init__(
        self,
        config: ServingConfig,
        source: Source,
        pool: Pool,
        metrics: Metrics,
        keys: Keys,
        monitoring: Monitoring | None = None,
    ) -> None:
        self.config, self.source, self.pool, self.metrics, self.keys = config, source, pool, metrics, keys
        self.monitoring = monitoring
        if monitoring is not None:
            monitoring.source = source
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

    async def answers(self, context: Context, model: ServedModel, contents: Sequence[bytes]) -> list[Recorded]:
        """Answer the images of a request, and count and record the answers."""
        jobs = [
            partial(self._answer, context.request_id, model, content, place) for place, content in enumerate(contents)
        ]
        found = await self.compute(jobs)
        for each in found:
            self.metrics.count_answer(each.answer, model.decision(each.answer))
        return found

    def _answer(self, request_id: str, model: ServedModel, content: bytes, place: int) -> Recorded:
        answer = model.answer(content, "<upload>")
        if self.monitoring is None:
            return Recorded(answer, None)
        return Recorded(answer, self.monitoring.record(model, answer, content, request_id, place))


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
