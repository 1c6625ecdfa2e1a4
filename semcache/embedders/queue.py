"""Texts that wait for a model: what has come while it was busy goes together, a lone text goes at once.

    embed ──▶ waiting (bounded) ──▶ job: as many as fit ──▶ one thread ──▶ futures

1. One job at a time: a model uses its cores best alone. Nothing waits for a job to fill up.
2. A job has at most `batch_texts_max` texts of together about `batch_tokens_max` tokens, at least one text: that is
   how long the next text waits.
3. Whoever has stopped waiting, by cancellation or deadline, is not worked for.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeAlias

from semcache.embedder import Embeddings, Tokens
from semcache.entry import Embedding
from semcache.errors import EmbedError, EmbedTimeout, EmbedUnavailable
from semcache.settings import EmbedderSettings
from serving.clock import Clock

Work: TypeAlias = Callable[[Sequence[str]], tuple[Embeddings, Sequence[Tokens]]]
"""Embeds texts in the thread: vectors, and the tokens of each text."""
_Answer: TypeAlias = tuple[Embedding, Tokens]

# Of English and of code; a job's size is a bound on waiting, so a guess is good enough.
_CHARACTERS_PER_TOKEN = 4


@dataclass(slots=True)
class _Waiting:
    text: str
    deadline: float
    future: asyncio.Future[_Answer]


class TextQueue:
    """Feeds one model."""

    def __init__(self, settings: EmbedderSettings, clock: Clock, window_tokens: int, work: Work) -> None:
        self._settings = settings
        self._clock = clock
        self._window_tokens = window_tokens
        self._work = work
        self._waiting: deque[_Waiting] = deque()
        self._under_way: list[_Waiting] = []
        self._jobs: SimpleQueue[list[str] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Have a thread of its own."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._serve, args=(loop,), name="embedder", daemon=True)
        self._thread.start()

    async def embed(self, texts: Sequence[str], deadline: float) -> Sequence[_Answer]:
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
        # Not at once: what else comes in this turn of the loop goes together with it.
        loop.call_soon(self._begin)
        try:
            return [await each.future for each in mine]
        finally:
            # Where one failed, or the caller has gone, nobody waits for the others.
            for each in mine:
                if not each.future.cancel() and not each.future.cancelled():
                    each.future.exception()

    async def stop(self) -> None:
        """End after the job under way; those who wait get EmbedUnavailable."""
        thread, self._thread = self._thread, None
        self._refuse(self._waiting, EmbedUnavailable("the embedder is stopping"))
        self._waiting.clear()
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work; the thread does nothing else. Not an executor: what that does around each job costs more than telling of it."""
        while (texts := self._jobs.get()) is not None:
            try:
                done: Sequence[_Answer] | Exception = list(zip(*self._work(texts), strict=True))
            except Exception as error:  # noqa: BLE001 - whatever a model raises, its callers hear of it and the next job runs
                done = error
            try:
                loop.call_soon_threadsafe(self._end, done)
            except RuntimeError:  # the loop has ended before us
                return

    def _begin(self) -> None:
        if not self._under_way and self._thread is not None:
            self._under_way = self._next_job()
            if self._under_way:
                self._jobs.put([each.text for each in self._under_way])

    def _end(self, done: Sequence[_Answer] | Exception) -> None:
        job, self._under_way = self._under_way, []
        # The next job first: the model need not wait until these have had their turn.
        self._begin()
        if isinstance(done, Exception):
            self._refuse(job, EmbedUnavailable(f"the model failed: {type(done).__name__}"))
            return
        for each, answer in zip(job, done, strict=True):
            if not each.future.done():
                each.future.set_result(answer)

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
