from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from semcache.embedder import Embeddings, Tokens
from semcache.embedders.queue import TextQueue
from semcache.errors import EmbedTimeout, EmbedUnavailable
from semcache.settings import EmbedderSettings
from tests.fakes.clock import FakeClock

WINDOW_TOKENS = 8


class Bench:
    """A queue before a model that waits until it may work, and notes its jobs."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.jobs: list[list[str]] = []
        self.gate = threading.Event()
        settings = EmbedderSettings(batch_texts_max=4, batch_tokens_max=20, queue_texts_max=6)
        self.queue = TextQueue(settings, self.clock, WINDOW_TOKENS, self._work)

    def _work(self, texts: Sequence[str]) -> tuple[Embeddings, Sequence[Tokens]]:
        self.jobs.append(list(texts))
        self.gate.wait(10)
        if "bad" in texts:
            raise ValueError(texts)
        return np.ones((len(texts), 2), np.float32), [Tokens(len(text)) for text in texts]

    def begin(self, *texts: str, deadline: float = math.inf) -> asyncio.Task[list[int]]:
        async def embed() -> list[int]:
            return [tokens.total for _, tokens in await self.queue.embed(texts, deadline)]

        return asyncio.create_task(embed())

    async def until_at_work(self) -> None:
        async with asyncio.timeout(30):
            while not self.jobs:  # noqa: ASYNC110 - a thread tells nobody
                await asyncio.sleep(0.001)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    bench.queue.start()
    yield bench
    bench.gate.set()
    await bench.queue.stop()


async def test_texts_that_wait_are_embedded_together_up_to_the_bounds(bench: Bench) -> None:
    first = bench.begin("a")
    await bench.until_at_work()
    others = [bench.begin("x" * 100), bench.begin("b", "c"), bench.begin("x" * 100)]
    await asyncio.sleep(0)
    bench.gate.set()

    assert [await each for each in (first, *others)] == [[1], [100], [1, 1], [100]]
    # A text is no longer than the window; of twenty tokens, eight and eight and two leave room for none of eight.
    assert [[len(text) for text in job] for job in bench.jobs] == [[1], [100, 1, 1, 100]]


async def test_a_job_takes_no_more_tokens_than_the_bound(bench: Bench) -> None:
    first = bench.begin("a")
    await bench.until_at_work()
    others = [bench.begin("x" * 100) for _ in range(3)]
    await asyncio.sleep(0)
    bench.gate.set()
    await asyncio.gather(first, *others)

    assert [len(job) for job in bench.jobs] == [1, 2, 1]


async def test_a_model_that_fails_fails_its_job_and_the_next_one_runs(bench: Bench) -> None:
    bad = bench.begin("bad")
    await bench.until_at_work()
    good = bench.begin("good")
    bench.gate.set()

    with pytest.raises(EmbedUnavailable, match="the model failed: ValueError"):
        await bad
    assert await good == [4]


async def test_a_text_whose_time_is_up_is_not_embedded(bench: Bench) -> None:
    first = bench.begin("a")
    await bench.until_at_work()
    late = bench.begin("late", deadline=bench.clock.steady() + 1)
    await asyncio.sleep(0)
    bench.clock.advance(1)
    bench.gate.set()
    await first

    with pytest.raises(EmbedTimeout):
        await late
    assert bench.jobs == [["a"]]


async def test_who_has_gone_hurts_no_other_of_his_job(bench: Bench) -> None:
    gone, first = bench.begin("gone"), bench.begin("a")
    await bench.until_at_work()
    gone.cancel()
    waiting = bench.begin("never")
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    bench.gate.set()

    assert await first == [1]
    assert await bench.begin("b") == [1]
    assert bench.jobs == [["gone", "a"], ["b"]]


async def test_texts_that_wait_are_bounded_and_refused_at_the_end(bench: Bench) -> None:
    first = bench.begin("a")
    await bench.until_at_work()
    waiting = bench.begin(*"bcdefg")
    await asyncio.sleep(0)

    with pytest.raises(EmbedUnavailable, match="6 texts wait for the model"):
        await bench.begin("h")
    bench.gate.set()
    await bench.queue.stop()
    assert await first == [1]
    for refused in (waiting, bench.begin("i")):
        with pytest.raises(EmbedUnavailable):
            await refused


def test_the_thread_ends_where_its_loop_has_ended_before() -> None:
    bench = Bench()

    async def leave_at_work() -> None:
        bench.queue.start()
        bench.begin("a")
        await bench.until_at_work()

    asyncio.run(leave_at_work())
    thread = bench.queue._thread
    bench.gate.set()

    assert thread is not None
    thread.join(30)
    assert not thread.is_alive()
