"""A client of OpenAI's library that looks up before it asks: `client = cached(AsyncOpenAI(), cache)`, or of `OpenAI()`.

    create(messages, …) ── lookup ──▶ hit: the kept answer, as the library would give it, as a stream if that is wanted
                              └─────▶ miss: ask, keep, answer; equal questions of others wait meanwhile

1. A stream is passed on chunk by chunk as it comes, and kept when it has come to its end. One that breaks, or that its
   reader leaves before, is not kept, and the next who asks may fetch.
2. Several choices (`n`) are passed through and not kept; everything but `chat.completions.create` is the client's own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any, Self

from semcache.client import chat
from semcache.client.blocking import BlockingCacheClient, BlockingFill
from semcache.client.connection import CacheClient, Fill


def cached(client: Any, cache: CacheClient | BlockingCacheClient, **scope: Any) -> Any:  # noqa: ANN401 - any client that is compatible
    """Return the client with a cache before its chat completions; `scope` as `CacheClient` takes it.

    An asynchronous client goes with a `CacheClient`, one that blocks with a `BlockingCacheClient`.
    """
    completions = client.chat.completions
    own = (
        _BlockingCompletions(completions, cache, scope)
        if isinstance(cache, BlockingCacheClient)
        else _Completions(completions, cache, scope)
    )
    return _Over(client, chat=_Over(client.chat, completions=own))


class _Over:
    """An object with some of its attributes replaced."""

    def __init__(self, inner: Any, **own: Any) -> None:  # noqa: ANN401 - as above
        self._inner = inner
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._inner, name)


class _Completions(_Over):
    def __init__(self, inner: Any, cache: CacheClient, scope: dict[str, Any]) -> None:  # noqa: ANN401 - as above
        super().__init__(inner)
        self._cache = cache
        self._scope = scope

    async def create(self, **request: Any) -> Any:  # noqa: ANN401 - what the client returns
        if not chat.is_asked(request):
            return await self._inner.create(**request)
        async with AsyncExitStack() as stack:
            filling = self._cache.fill(request["messages"], **chat.scope_of(request) | self._scope)
            fill = await stack.enter_async_context(filling)
            if fill.completion is not None and chat.wants_stream(request):
                return _Stream(None, _replay(chat.read_chunks(fill.completion, request)), stack.pop_all())
            if fill.completion is not None:
                return chat.read_response(fill.completion)
            response = await self._inner.create(**request)
            if chat.wants_stream(request):
                held = stack.pop_all()
                return _Stream(response, _pass_on(response, fill, held), held)
            if fill.found.outcome == "miss":
                await fill.store(chat.write_response(response))
            return response


class _BlockingCompletions(_Over):
    def __init__(self, inner: Any, cache: BlockingCacheClient, scope: dict[str, Any]) -> None:  # noqa: ANN401 - as above
        super().__init__(inner)
        self._cache = cache
        self._scope = scope

    def create(self, **request: Any) -> Any:  # noqa: ANN401 - as above
        if not chat.is_asked(request):
            return self._inner.create(**request)
        with ExitStack() as stack:
            fill = stack.enter_context(self._cache.fill(request["messages"], **chat.scope_of(request) | self._scope))
            if fill.completion is not None and chat.wants_stream(request):
                return _BlockingStream(
                    None, _replay_blocking(chat.read_chunks(fill.completion, request)), stack.pop_all()
                )
            if fill.completion is not None:
                return chat.read_response(fill.completion)
            response = self._inner.create(**request)
            if chat.wants_stream(request):
                held = stack.pop_all()
                return _BlockingStream(response, _pass_on_blocking(response, fill, held), held)
            if fill.found.outcome == "miss":
                fill.store(chat.write_response(response))
            return response


class _Stream(_Over):
    """Chunks, with what else the client's own stream has."""

    def __init__(self, inner: Any, chunks: AsyncGenerator[Any, None], held: AsyncExitStack) -> None:  # noqa: ANN401 - as above
        super().__init__(inner)
        self._chunks = chunks
        self._held = held

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._chunks

    async def __anext__(self) -> Any:  # noqa: ANN401 - a ChatCompletionChunk
        return await anext(self._chunks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave it; what was not read is not kept."""
        await self._chunks.aclose()
        # A generator that was never asked has nothing to end.
        await self._held.aclose()
        if self._inner is not None:
            await self._inner.close()


class _BlockingStream(_Over):
    """As above."""

    def __init__(self, inner: Any, chunks: Generator[Any, None, None], held: ExitStack) -> None:  # noqa: ANN401 - as above
        super().__init__(inner)
        self._chunks = chunks
        self._held = held

    def __iter__(self) -> Iterator[Any]:
        return self._chunks

    def __next__(self) -> Any:  # noqa: ANN401 - as above
        return next(self._chunks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave it; what was not read is not kept."""
        self._chunks.close()
        self._held.close()
        if self._inner is not None:
            self._inner.close()


async def _replay(chunks: Iterator[Any]) -> AsyncGenerator[Any, None]:
    for chunk in chunks:
        yield chunk


def _replay_blocking(chunks: Iterator[Any]) -> Generator[Any, None, None]:
    yield from chunks


async def _pass_on(stream: Any, fill: Fill, held: AsyncExitStack) -> AsyncGenerator[Any, None]:  # noqa: ANN401 - as above
    said = chat.Said()
    async with held:
        try:
            async for chunk in stream:
                said.take(chunk)
                yield chunk
        finally:
            # Also for a reader who left once he had heard why it ended: then it is whole.
            whole = said.whole()
            if whole is not None and fill.found.outcome == "miss":
                await fill.store(whole)


def _pass_on_blocking(stream: Any, fill: BlockingFill, held: ExitStack) -> Generator[Any, None, None]:  # noqa: ANN401 - as above
    said = chat.Said()
    with held:
        try:
            for chunk in stream:
                said.take(chunk)
                yield chunk
        finally:
            # As above.
            whole = said.whole()
            if whole is not None and fill.found.outcome == "miss":
                fill.store(whole)
