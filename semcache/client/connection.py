"""A connection to the cache. It fails open: a cache that is away is a BYPASS, and never the caller's failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.client.values import (
    CacheError,
    Completion,
    Forgotten,
    Found,
    Prompt,
    Stored,
    read_found,
    read_stored,
    write_completion,
    write_prompt,
    write_scope,
)
from serving.channels import bearer, open_channel

SERVICE = "weir.semcache.v1.SemanticCacheService"

_UNARY: dict[str, tuple[type[Message], type[Message]]] = {
    "Lookup": (wire.LookupRequest, wire.LookupResponse),
    "Store": (wire.StoreRequest, wire.StoreResponse),
    "ReleaseLease": (wire.ReleaseLeaseRequest, wire.ReleaseLeaseResponse),
    "Invalidate": (wire.InvalidateRequest, wire.InvalidateResponse),
    "Feedback": (wire.FeedbackRequest, wire.FeedbackResponse),
    "Describe": (wire.DescribeRequest, wire.DescribeResponse),
    "RollBack": (wire.RollBackRequest, wire.RollBackResponse),
}
# The cache is away or slow, and not the caller's fault.
_AWAY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
}
# Beyond the cache's own 150 ms: what the network may take, too.
LOOKUP_SECONDS = 0.5
_CALL_SECONDS = 5.0
_LONG_SECONDS = 600.0


class Fill:
    """A lookup with the duty to fetch, where there was no answer and nobody else fetches."""

    def __init__(self, client: CacheClient, prompt: Prompt, found: Found, scope: dict[str, Any]) -> None:
        self.found = found
        self._client = client
        self._prompt = prompt
        self._scope = scope
        self.is_stored = False

    @property
    def completion(self) -> Completion | None:
        """The answer, if there is one; else fetch it, and `store` it."""
        return self.found.completion

    async def store(self, completion: Completion | str, **options: Any) -> Stored:  # noqa: ANN401 - as `CacheClient.store`
        """Keep what was fetched, for all who wait for it."""
        stored = await self._client.store(
            self._prompt,
            completion,
            lease_id=self.found.lease_id,
            lookup_id=self.found.lookup_id,
            **options,
            **self._scope,
        )
        self.is_stored = True
        return stored


class CacheClient:
    """One namespace of a running cache.

    What must be equal for an answer to be shared is given as keyword arguments, here for every call or with each one:
    `tenant`, `user`, `api_schema`, `model`, `system_prompt`, `tools`, `response_format`, `sampling`, `region`; any other
    name is an extra pair.
    """

    def __init__(
        self,
        target: str,
        *,
        namespace: str,
        token: str = "",
        credentials: grpc.ChannelCredentials | None = None,
        timeout_seconds: float = LOOKUP_SECONDS,
        **scope: Any,  # noqa: ANN401 - texts, or JSON
    ) -> None:
        """Prepare a connection; `credentials` make it TLS, `token` is sent as a bearer token.

        A lookup takes `timeout_seconds` at most, a wait for somebody else's fetch left out.
        """
        self.namespace = namespace
        self._timeout_seconds = timeout_seconds
        self._scope = scope
        self._metadata = bearer(token)
        self._channel = open_channel(target, credentials)
        self._methods = {
            name: self._channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            for name, (request, response) in _UNARY.items()
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def lookup(
        self,
        prompt: Prompt,
        *,
        max_age_seconds: float | None = None,
        min_confidence: float = 0.0,
        exact_only: bool = False,
        lease: bool = False,
        fill_wait_seconds: float = 0.0,
        **scope: Any,  # noqa: ANN401 - as the constructor's
    ) -> Found:
        """Ask for an answer.

        With `lease` a miss may carry the duty to fetch for all who ask the same; `fill` looks after that. With
        `fill_wait_seconds` the call waits so long for somebody else's fetch.

        Raises:
            CacheError: the cache refused the question.
        """
        request = wire.LookupRequest(
            namespace=self.namespace,
            scope=write_scope(self._scope | scope),
            prompt=write_prompt(prompt),
            max_age=_duration(max_age_seconds) if max_age_seconds is not None else None,
            min_confidence=min_confidence,
            exact_only=exact_only,
            lease=lease,
            fill_wait=_duration(fill_wait_seconds) if fill_wait_seconds else None,
        )
        response = await self._try("Lookup", request, self._timeout_seconds + fill_wait_seconds)
        return Found("bypass", "unreachable") if response is None else read_found(response)

    async def store(  # noqa: PLR0913 - the fields of the request, by keyword
        self,
        prompt: Prompt,
        completion: Completion | str,
        *,
        ttl_seconds: float = 0.0,
        tags: Sequence[str] = (),
        source: dict[str, str] | None = None,
        temperature: float | None = None,
        lease_id: str = "",
        lookup_id: str = "",
        **scope: Any,  # noqa: ANN401 - as the constructor's
    ) -> Stored:
        """Offer a whole answer; what is refused is told.

        Raises:
            CacheError: the cache refused the call.
        """
        request = wire.StoreRequest(
            namespace=self.namespace,
            scope=write_scope(self._scope | scope),
            prompt=write_prompt(prompt),
            completion=write_completion(completion),
            ttl=_duration(ttl_seconds) if ttl_seconds else None,
            tags=tags,
            source=source or {},
            temperature=temperature,
            lease_id=lease_id,
            lookup_id=lookup_id,
        )
        response = await self._try("Store", request, _CALL_SECONDS)
        return Stored(False, "unreachable") if response is None else read_stored(response)

    @asynccontextmanager
    async def fill(self, prompt: Prompt, *, wait_seconds: float = 30.0, **scope: Any) -> AsyncIterator[Fill]:  # noqa: ANN401 - as the constructor's
        """Look up, or fetch for all who ask the same: `async with cache.fill(prompt) as fill: …`.

        If `fill.completion` is None, fetch and `await fill.store(answer)`; leaving without that lets the next one
        fetch.
        """
        found = await self.lookup(prompt, lease=True, fill_wait_seconds=wait_seconds, **scope)
        fill = Fill(self, prompt, found, scope)
        try:
            yield fill
        finally:
            if found.lease_id and not fill.is_stored:
                # It ends by itself; what the caller has, or what he failed at, counts more.
                with suppress(CacheError):
                    await self.release(found.lease_id)

    async def answer(
        self,
        prompt: Prompt,
        fetch: Callable[[], Awaitable[Completion | str]],
        **scope: Any,  # noqa: ANN401 - as the constructor's
    ) -> Completion | str:
        """Return the kept answer, or what `fetch` returns, which is kept."""
        async with self.fill(prompt, **scope) as fill:
            if fill.completion is not None:
                return fill.completion
            fetched = await fetch()
            if fill.found.outcome != "bypass":
                await fill.store(fetched)
            return fetched

    async def release(self, lease_id: str) -> bool:
        """Give a fill lease back; return False if it had ended."""
        request = wire.ReleaseLeaseRequest(namespace=self.namespace, lease_id=lease_id)
        response = await self._try("ReleaseLease", request, _CALL_SECONDS)
        return response is not None and bool(response.released)

    async def feedback(self, found: Found, *, is_right: bool) -> bool:
        """Say whether an answer was right; return whether the cache learned from it.

        Raises:
            CacheError: the cache refused the call, or is away.
        """
        judgement = wire.JUDGEMENT_RIGHT if is_right else wire.JUDGEMENT_WRONG
        request = wire.FeedbackRequest(
            namespace=self.namespace, entry_id=found.entry_id, lookup_id=found.lookup_id, judgement=judgement
        )
        response: wire.FeedbackResponse = await self._call("Feedback", request, _CALL_SECONDS)
        return response.learned

    async def invalidate(  # noqa: PLR0913 - the names that something may be meant by
        self,
        *,
        entry_id: str = "",
        tag: str = "",
        tenant: str = "",
        scope_id: str = "",
        everything: bool = False,
        is_dry_run: bool = False,
        must_erase: bool = False,
    ) -> Forgotten:
        """Forget answers by exactly one of these; `must_erase` waits until no text of them is left in the store's files.

        Raises:
            CacheError: the cache refused the call, or is away.
        """
        named = {"entry_id": entry_id, "tag": tag, "tenant": tenant, "scope_id": scope_id}
        target: dict[str, Any] = {name: value for name, value in named.items() if value}
        if everything:
            target["everything"] = wire.Everything()
        if len(target) != 1:
            raise CacheError("name exactly one of entry_id, tag, tenant, scope_id and everything")
        request = wire.InvalidateRequest(namespace=self.namespace, dry_run=is_dry_run, erase=must_erase, **target)
        response: wire.InvalidateResponse = await self._call("Invalidate", request, _LONG_SECONDS)
        return Forgotten(response.entries, is_erased=response.erased)

    async def describe(self, *, all_namespaces: bool = False) -> Sequence[wire.NamespaceState]:
        """Return how the namespace does, or all that the caller may administer.

        Raises:
            CacheError: the cache refused the call, or is away.
        """
        request = wire.DescribeRequest(namespace="" if all_namespaces else self.namespace)
        response: wire.DescribeResponse = await self._call("Describe", request, _LONG_SECONDS)
        return list(response.namespaces)

    async def roll_back(self) -> str:
        """Have the embedding model before answer again; return its name.

        Raises:
            CacheError: there is none that could, or the cache refused the call.
        """
        request = wire.RollBackRequest(namespace=self.namespace)
        response: wire.RollBackResponse = await self._call("RollBack", request, _LONG_SECONDS)
        return response.embedding_model

    async def export(self, tenant: str | None = None) -> AsyncIterator[wire.ExportResponse]:
        """Yield the parts of an export.

        Raises:
            CacheError: the cache refused the call, or broke off.
        """
        method = self._channel.unary_stream(
            f"/{SERVICE}/Export",
            request_serializer=wire.ExportRequest.SerializeToString,
            response_deserializer=wire.ExportResponse.FromString,
        )
        request = wire.ExportRequest(namespace=self.namespace, tenant=tenant)
        try:
            async for part in method(request, metadata=self._metadata):
                yield part
        except grpc.aio.AioRpcError as error:
            raise CacheError(_words(error)) from None

    async def import_(self, parts: AsyncIterator[wire.ExportResponse]) -> wire.ImportResponse:
        """Have the cache take an export.

        Raises:
            CacheError: the cache refused the call, or the export is damaged.
        """
        method = self._channel.stream_unary(
            f"/{SERVICE}/Import",
            request_serializer=wire.ImportRequest.SerializeToString,
            response_deserializer=wire.ImportResponse.FromString,
        )

        broken: list[Exception] = []

        async def requests() -> AsyncIterator[wire.ImportRequest]:
            try:
                async for part in parts:
                    request = wire.ImportRequest(namespace=self.namespace)
                    _copy_part(part, request)
                    yield request
            except Exception as error:
                broken.append(error)
                raise

        try:
            response: wire.ImportResponse = await method(requests(), metadata=self._metadata)
        except asyncio.CancelledError:
            # What fails in the iterator reaches us as a cancellation of the call.
            if broken:
                raise broken[0] from None
            raise
        except grpc.aio.AioRpcError as error:
            raise CacheError(_words(error)) from None
        return response

    async def _try(self, name: str, request: Message, timeout_seconds: float) -> Any:  # noqa: ANN401 - a message of that method
        try:
            return await self._methods[name](request, timeout=timeout_seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() in _AWAY:
                return None
            raise CacheError(_words(error)) from None

    async def _call(self, name: str, request: Message, timeout_seconds: float) -> Any:  # noqa: ANN401 - as above
        try:
            return await self._methods[name](request, timeout=timeout_seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise CacheError(_words(error)) from None


def _copy_part(part: wire.ExportResponse, request: wire.ImportRequest) -> None:
    kind = part.WhichOneof("part")
    if kind is not None:
        getattr(request, kind).CopyFrom(getattr(part, kind))


def _words(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))
