"""A client of OpenAI's library that looks up before it asks: `client = cached(AsyncOpenAI(), cache)`, or of `OpenAI()`.

    create(messages, …) ── lookup ──▶ hit: the kept answer, as the library would give it, as a stream if that is wanted
                              └─────▶ miss: ask, keep, answer; equal questions of others wait meanwhile

1. A stream is passed on chunk by chunk as it comes, and kept when it has come to its end. One that breaks, or that its
   reader leaves before, is not kept, and the next who asks may fetch.
2. Several choices (`n`) are passed through and not kept; everything but `chat.completions.create` is the client's own.
3. Nothing of the cache is the caller's failure: what it does not take (a chat without a user's turn, a token that has
   ended) is asked of the model and told in the log, and an answer that it does not keep is given all the same.
4. An answer, or a stream, knows its lookup (`found_of`), for those who give feedback.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from typing import Any, Self

from semcache.client import chat
from semcache.client.blocking import BlockingCacheClient, BlockingFill
from semcache.client.connection import CacheClient, Fill
from semcache.client.values import CacheError, Found

log = logging.getLogger(__name__)

_FOUND = "_weir_found"


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


def found_of(answer: Any) -> Found | None:  # noqa: ANN401 - a ChatCompletion, or a stream of chunks
    """Return the lookup behind what a cached client gave, as `CacheClient.feedback` takes it; None: it was not asked."""
    found: Found | None = getattr(answer, _FOUND, None)
    return found


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
            fill = await self._look_up(stack, request)
            if fill is None:
                return await self._inner.create(**request)
            if fill.completion is not None and chat.wants_stream(request):
                replayed = _replay(chat.read_chunks(fill.completion, request))
                return _marked(_Stream(None, replayed, stack.pop_all()), fill)
            if fill.completion is not None:
                return _marked(chat.read_response(fill.completion), fill)
            response = await self._inner.create(**request)
            if chat.wants_stream(request):
                held = stack.pop_all()
                return _marked(_Stream(response, _pass_on(response, fill, held), held), fill)
            with _told():
                if fill.found.outcome == "miss":
                    await fill.store(chat.write_response(response))
            return _marked(response, fill)

    async def _look_up(self, stack: AsyncExitStack, request: dict[str, Any]) -> Fill | None:
        fill: Fill | None = None
        with _told():
            filling = self._cache.fill(request["messages"], **chat.scope_of(request) | self._scope)
            fill = await stack.enter_async_context(filling)
        return fill  # noqa: RET504 - `_told` may have taken what was raised


class _BlockingCompletions(_Over):
    def __init__(self, inner: Any, cache: BlockingCacheClient, scope: dict[str, Any]) -> None:  # noqa: ANN401 - as above
        super().__init__(inner)
        self._cache = cache
        self._scope = scope

    def create(self, **request: Any) -> Any:  # noqa: ANN401 - as above
        if not chat.is_asked(request):
            return self._inner.create(**request)
        with ExitStack() as stack:
            fill = self._look_up(stack, request)
            if fill is None:
                return self._inner.create(**request)
            if fill.completion is not None and chat.wants_stream(request):
                replayed = _replay_blocking(chat.read_chunks(fill.completion, request))
                return _marked(_BlockingStream(None, replayed, stack.pop_all()), fill)
            if fill.completion is not None:
                return _marked(chat.read_response(fill.completion), fill)
            response = self._inner.create(**request)
            if chat.wants_stream(request):
                held = stack.pop_all()
                return _marked(_BlockingStream(response, _pass_on_blocking(response, fill, held), held), fill)
            with _told():
                if fill.found.outcome == "miss":
                    fill.store(chat.write_response(response))
            return _marked(response, fill)

    def _look_up(self, stack: ExitStack, request: dict[str, Any]) -> BlockingFill | None:
        fill: BlockingFill | None = None
        with _told():
            filling = self._cache.fill(request["messages"], **chat.scope_of(request) | self._scope)
            fill = stack.enter_context(filling)
        return fill  # noqa: RET504 - `_told` may have taken what was raised


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
            with _told():
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
            with _told():
                if whole is not None and fill.found.outcome == "miss":
                    fill.store(whole)


def _marked(answer: Any, fill: Fill | BlockingFill) -> Any:  # noqa: ANN401 - as `found_of`
    # Past pydantic, which would take it for a field of the answer.
    with suppress(AttributeError):
        object.__setattr__(answer, _FOUND, fill.found)
    return answer


@contextmanager
def _told() -> Iterator[None]:
    """Tell in the log what fails of the cache, without the words of a chat, and go on."""
    try:
        yield
    except CacheError as error:
        log.warning("the cache refused a chat: %s", error)
    except Exception as error:  # noqa: BLE001 - what a caller may send to a model need not be what the cache can read
        log.warning("a chat cannot be given to the cache: %s", type(error).__name__)
