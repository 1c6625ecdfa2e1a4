"""Texts that wait for a model: what has come while it was busy goes together, a lone text goes at once.

    embed ──▶ waiting (bounded) ──▶ job: as many as fit ──▶ one thread ──▶ futures

1. One job at a time: a model uses its cores best alone. Nothing waits for a job to fill up.
2. A job has at most `batch_texts_max` texts of together about `batch_tokens_max` tokens, at least one text: that is
   how long the next text waits.
3. Whoever has stopped waiting, by cancellation or deadline, is not worked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from semcache.embedder import Embeddings, Tokens
from semcache.entry import Embedding
from semcache.errors import EmbedError, EmbedTimeout, EmbedUnavailable
from semcache.settings import EmbedderSettings
from serving.clock import Clock

Work: TypeAlias = Callable[[Sequence[str]], tuple[Embeddings, Sequence[Tokens]]]
"""Embeds texts in the thread: vectors, and the tokens of each text."""

# Of English and of code; a job's size is a bound on waiting, so a guess is good enough.
_CHARACTERS_PER_TOKEN = 4


@dataclass(slots=True)
class _Waiting:
    text: str
    deadline: float
    future: asyncio.Future[tuple[Embedding, Tokens]]


class TextQueue:
    """Feeds one model."""

    def __init__(self, settings: EmbedderSettings, clock: Clock, window_tokens: int, work: Work) -> None:
        self._settings = settings
        self._clock = clock
        self._window_tokens = window_tokens
        self._work = work
        self._waiting: deque[_Waiting] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Have a thread of its own."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")

    async def embed(self, texts: Sequence[str], deadline: float) -> Sequence[tuple[Embedding, Tokens]]:
        """Return vector and tokens of each text.

        Raises:
            EmbedError: as the port says.
        """
        if self._thread is None:
            raise EmbedUnavailable("the model is not loaded")
        if len(self._waiting) + len(texts) > self._settings.queue_texts_max:
            raise EmbedUnavailable(f"{len(self._waiting)} texts wait for the model")
        loop = asyncio.get_running_loop()
        mine = [_Waiting(text, deadline, loop.create_future()) for text in texts]
        self._waiting.extend(mine)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(self._thread))
        answers = await asyncio.gather(*(each.future for each in mine), return_exceptions=True)
        # All are awaited before one is raised: none is left behind without a reader.
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def stop(self) -> None:
        """End after the job under way; those who wait get EmbedUnavailable."""
        thread, self._thread = self._thread, None
        self._refuse(self._waiting, EmbedUnavailable("the embedder is stopping"))
        self._waiting.clear()
        if self._running is not None:
            await self._running
        if thread is not None:
            thread.shutdown()

    async def _run(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while job := self._next_job():
            try:
                embeddings, tokens = await loop.run_in_executor(thread, self._work, [each.text for each in job])
            except Exception as error:  # noqa: BLE001 - whatever a model raises, its callers hear of it and the next job runs
                self._refuse(job, EmbedUnavailable(f"the model failed: {type(error).__name__}"))
                continue
            for each, embedding, count in zip(job, embeddings, tokens, strict=True):
                if not each.future.done():
                    each.future.set_result((embedding, count))

    def _next_job(self) -> list[_Waiting]:
        job: list[_Waiting] = []
        tokens, now = 0, self._clock.steady()
        while self._waiting and len(job) < self._settings.batch_texts_max:
            each = self._waiting[0]
            if each.future.done() or each.deadline <= now:
                self._refuse([self._waiting.popleft()], EmbedTimeout("no model was free in time"))
                continue
            tokens += min(self._window_tokens, len(each.text) // _CHARACTERS_PER_TOKEN + 1)
            if job and tokens > self._settings.batch_tokens_max:
                break
            job.append(self._waiting.popleft())
        return job

    @staticmethod
    def _refuse(waiting: Sequence[_Waiting] | deque[_Waiting], error: EmbedError) -> None:
        for each in waiting:
            if not each.future.done():
                each.future.set_exception(error)
