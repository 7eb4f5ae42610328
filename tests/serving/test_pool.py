"""Places are taken and given back once, whatever becomes of a request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pneumonia.serving.follower import Serving
from pneumonia.serving.pool import Pool
from pneumonia.serving.problems import Problem
from tests.support.serving import client_of, film, run_loop, service_with


class Gate:
    """A job that ends when it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began = threading.Semaphore(0)

    def __call__(self) -> str:
        self.began.release()
        self.open.wait(30)
        return "done"


@pytest.fixture
def pool() -> Iterator[Pool]:
    found = Pool(threads=2, queue=2)
    yield found
    found.close()


def test_requests_are_admitted_whole_or_not_at_all(pool: Pool) -> None:
    async def run() -> None:
        gate = Gate()
        first = pool.submit([gate] * 3)
        assert (pool.admitted, pool.waiting, pool.full) == (3, 1, False)
        with pytest.raises(Problem) as refused:
            pool.submit([gate] * 2)
        assert refused.value.status == 503
        assert int(refused.value.headers["Retry-After"]) > 0
        assert pool.admitted == 3
        second = pool.submit([gate])
        assert pool.full
        gate.open.set()
        assert await asyncio.gather(*first, *second) == ["done"] * 4

    run_loop(run())
    assert pool.admitted == 0


def test_a_request_larger_than_the_queue_is_admitted_when_nothing_waits(pool: Pool) -> None:
    async def run() -> None:
        assert await asyncio.gather(*pool.submit([lambda: 1] * 9)) == [1] * 9

    run_loop(run())
    assert pool.admitted == 0


def test_a_request_that_gives_up_returns_its_places_when_the_threads_are_done(pool: Pool) -> None:
    async def run() -> None:
        gate = Gate()
        futures = pool.submit([gate] * 4)
        gate.began.acquire()
        gate.began.acquire()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.gather(*futures)
        assert pool.admitted == 2  # those that wait are withdrawn, those in work go on
        gate.open.set()
        assert await asyncio.gather(*pool.submit([lambda: 1] * 2)) == [1, 1]

    run_loop(run())
    pool.close()
    assert pool.admitted == 0


def test_a_failed_job_returns_its_place(pool: Pool) -> None:
    def fail() -> None:
        raise ValueError

    async def run() -> None:
        for _ in range(10):
            with pytest.raises(ValueError):
                await asyncio.gather(*pool.submit([fail]))

    run_loop(run())
    assert pool.admitted == 0


def test_a_closed_pool_refuses(pool: Pool) -> None:
    async def run() -> None:
        pool.close()
        with pytest.raises(Problem):
            pool.submit([lambda: 1])

    run_loop(run())
    assert pool.admitted == 0


def post(client: Any) -> Any:
    return client.post("/v1/predict", content=film(), headers={"Content-Type": "image/png"})


def test_a_full_queue_refuses_at_once_and_goes_on_afterwards(serving: Serving) -> None:
    service, gate = service_with(serving, queue=1), Gate()
    with client_of(service) as client:
        held = [service.pool._start(gate) for _ in range(2)]
        service.pool._admitted += 2
        response = post(client)
        assert response.status_code == 503
        assert response.json()["code"] == "overloaded"
        assert response.headers["retry-after"] == "1"
        gate.open.set()
        for future in held:
            future.result(30)
        assert post(client).status_code == 200


def test_a_request_out_of_time_is_answered_and_its_place_returned(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, gate = service_with(serving, timeout=0.2), Gate()
    with client_of(service) as client:
        with monkeypatch.context() as patch:
            patch.setattr(type(serving.model), "answer", lambda *_: gate())
            response = post(client)
            assert response.status_code == 503
            assert response.json()["code"] == "timeout"
            assert response.headers["retry-after"]
        gate.open.set()
        while service.pool.admitted:
            time.sleep(0.01)
        assert post(client).status_code == 200
        assert service.uploads.held == 0
