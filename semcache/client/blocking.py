"""The client for code without an event loop: `with BlockingCacheClient("localhost:8082", namespace="support") as cache: …`.

    any thread ── call ──▶ the loop of a thread of its own ──▶ CacheClient ──▶ answer

It is `CacheClient` in all but waiting: one implementation, and threads may share it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from semcache.client.connection import CacheClient, Fill
from semcache.client.values import CacheError, Completion, Forgotten, Found, Prompt, Stored

T = TypeVar("T")


class BlockingFill:
    """A lookup with the duty to fetch, where there was no answer and nobody else fetches."""

    def __init__(self, client: BlockingCacheClient, fill: Fill) -> None:
        self._client = client
        self._fill = fill

    @property
    def found(self) -> Found:
        """The lookup."""
        return self._fill.found

    @property
    def completion(self) -> Completion | None:
        """The answer, if there is one; else fetch it, and `store` it."""
        return self._fill.completion

    def store(self, completion: Completion | str, **options: Any) -> Stored:  # noqa: ANN401 - as `CacheClient.store`
        """Keep what was fetched, for all who wait for it."""
        return self._client.run(self._fill.store(completion, **options))


class BlockingCacheClient:
    """One namespace of a running cache; arguments as of `CacheClient`."""

    def __init__(self, target: str, *, namespace: str, **options: Any) -> None:  # noqa: ANN401 - as `CacheClient`
        """Prepare a connection, and a thread that waits for it."""
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that ends without closing the client is not kept by it.
        self._thread = threading.Thread(target=self._loop.run_forever, name="weir-cache", daemon=True)
        self._thread.start()
        self._client = self.run(self._make(target, namespace, options))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, and end the thread."""
        if self._loop.is_closed():
            return
        self.run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def lookup(self, prompt: Prompt, **options: Any) -> Found:  # noqa: ANN401 - as `CacheClient.lookup`
        """Ask for an answer."""
        return self.run(self._client.lookup(prompt, **options))

    def store(self, prompt: Prompt, completion: Completion | str, **options: Any) -> Stored:  # noqa: ANN401 - as `CacheClient.store`
        """Offer a whole answer; what is refused is told."""
        return self.run(self._client.store(prompt, completion, **options))

    @contextmanager
    def fill(self, prompt: Prompt, **options: Any) -> Iterator[BlockingFill]:  # noqa: ANN401 - as `CacheClient.fill`
        """Look up, or fetch for all who ask the same: `with cache.fill(prompt) as fill: …`."""
        filling = self._client.fill(prompt, **options)
        fill = self.run(filling.__aenter__())
        try:
            yield BlockingFill(self, fill)
        finally:
            self.run(filling.__aexit__(None, None, None))

    def answer(self, prompt: Prompt, fetch: Callable[[], Completion | str], **options: Any) -> Completion | str:  # noqa: ANN401 - as `CacheClient.fill`
        """Return the kept answer, or what `fetch` returns, which is kept."""
        with self.fill(prompt, **options) as fill:
            if fill.completion is not None:
                return fill.completion
            fetched = fetch()
            if fill.found.outcome != "bypass":
                fill.store(fetched)
            return fetched

    def feedback(self, found: Found, *, is_right: bool) -> bool:
        """Say whether an answer was right; return whether the cache learned from it."""
        return self.run(self._client.feedback(found, is_right=is_right))

    def invalidate(self, **target: Any) -> Forgotten:  # noqa: ANN401 - as `CacheClient.invalidate`
        """Forget answers by exactly one of the names."""
        return self.run(self._client.invalidate(**target))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the thread do something of the client's, and wait for it.

        Raises:
            CacheError: the client is closed.
        """
        if self._loop.is_closed():
            work.close()
            raise CacheError("the client is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @staticmethod
    async def _make(target: str, namespace: str, options: dict[str, Any]) -> CacheClient:
        # Within the loop: a channel belongs to the one that it is made in.
        return CacheClient(target, namespace=namespace, **options)
