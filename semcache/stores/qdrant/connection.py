"""The client, with a bound on every call and its errors told in our words; only this module and its neighbours know Qdrant."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from semcache.errors import ConfigError, StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from semcache.settings import QdrantSettings

T = TypeVar("T")

IN_PROCESS = ":memory:"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# Of a server's error text: enough to act on, too little to carry an entry.
_DETAIL_MAX = 200
# Left to itself gRPC waits for up to two minutes before it looks again whether a server is back, and never finds out that
# one has gone without a word.
_CHANNEL = {
    "grpc.initial_reconnect_backoff_ms": 100,
    # In spite of its name that is how long an attempt to connect may take, TLS included.
    "grpc.min_reconnect_backoff_ms": 10_000,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 5_000,
}
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
_HTTP_AWAY = {502, 503}
_HTTP_LATE = {408, 504}


class Connection:
    """One client; calls are counted, timed and translated."""

    def __init__(self, settings: QdrantSettings) -> None:
        self._settings = settings
        self._client: AsyncQdrantClient | None = None
        self._under_way = 0
        self.is_healthy = False

    @property
    def client(self) -> AsyncQdrantClient:
        """The client.

        Raises:
            StoreUnavailable: not started, or stopped.
        """
        if self._client is None:
            raise StoreUnavailable("the connection to Qdrant is not open")
        return self._client

    def start(self) -> None:
        """Make the client; it connects with its first call.

        Raises:
            ConfigError: the settings contradict each other.
        """
        url = self._settings.url.get_secret_value()
        self._client = AsyncQdrantClient(location=IN_PROCESS) if url == IN_PROCESS else self._remote(url)

    async def run(self, call: Awaitable[T], timeout_seconds: float | None = None) -> T:
        """Await one call of the client, as long as a lookup may wait or as long as it is told.

        Raises:
            StoreTimeout: no answer in time.
            StoreUnavailable: no server, or too many calls under way.
            StoreRefused: the server, or the client, said no.
        """
        if self._under_way >= self._settings.calls_max:
            asyncio.ensure_future(call).cancel()
            raise StoreUnavailable(f"{self._settings.calls_max} calls to Qdrant are under way")
        self._under_way += 1
        try:
            async with asyncio.timeout(timeout_seconds or self._settings.timeout):
                answer = await call
        except (TimeoutError, ApiException, QdrantException, grpc.RpcError, RuntimeError, ValueError) as error:
            blamed = blame(error)
            self.is_healthy = isinstance(blamed, StoreRefused)
            raise blamed from None
        finally:
            self._under_way -= 1
        self.is_healthy = True
        return answer

    async def stop(self) -> None:
        """Close the client."""
        if self._client is not None:
            await self._client.close()
        self._client = None
        self.is_healthy = False

    def _remote(self, url: str) -> AsyncQdrantClient:
        settings, parts = self._settings, urlsplit(url)
        key = settings.api_key.get_secret_value()
        if key and parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise ConfigError("QDRANT_API_KEY would be sent without TLS: QDRANT_URL must be https://")
        authority: dict[str, Any] = {"grpc_options": dict(_CHANNEL)}
        if settings.tls_cacert:
            authority["verify"] = ssl.create_default_context(cafile=settings.tls_cacert)
            authority["grpc_options"]["root_certificates"] = Path(settings.tls_cacert).read_bytes()
        # The key goes as a header: given as `api_key`, the client warns about loopback.
        return AsyncQdrantClient(
            url=url,
            grpc_port=settings.grpc_port,
            prefer_grpc=settings.use_grpc,
            # Its own bound, in whole seconds, lies above ours, which ends a call in time.
            timeout=math.ceil(settings.timeout) + 1,
            headers={"api-key": key} if key else None,
            check_compatibility=False,
            **authority,
        )


def blame(error: BaseException) -> StoreError:
    """Return what a failed call means for its caller."""
    if isinstance(error, TimeoutError) or _is_late(error):
        return StoreTimeout("Qdrant did not answer in time")
    if _is_away(error):
        return StoreUnavailable("Qdrant is away")
    match error:
        case grpc.aio.AioRpcError():
            reason = f"{error.code().name}: {error.details()}"
        case UnexpectedResponse():
            reason = _reason(error)
        case _:
            reason = str(error)
    return StoreRefused(reason[:_DETAIL_MAX])


def _is_late(error: BaseException) -> bool:
    match error:
        case grpc.aio.AioRpcError():
            return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        case ResponseHandlingException():
            return "timeout" in type(error.source).__name__.lower()
        case _:
            return isinstance(error, UnexpectedResponse) and error.status_code in _HTTP_LATE


def _is_away(error: BaseException) -> bool:
    match error:
        case grpc.aio.AioRpcError():
            return error.code() in _AWAY
        case _:
            is_refused = isinstance(error, UnexpectedResponse) and error.status_code in _HTTP_AWAY
            return is_refused or isinstance(error, ResponseHandlingException)


def _reason(error: UnexpectedResponse) -> str:
    try:
        reason = error.structured()["status"]["error"]
    except (ValueError, LookupError, TypeError):
        reason = error.reason_phrase
    return f"{error.status_code}: {reason}"
