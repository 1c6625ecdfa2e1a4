"""A management server: real gRPC, aggregated discovery, state of the world, with the habits of gateways.

It answers a subscription with the whole state, and again when the state changes; a request whose
version is not the state's is answered at once, which is why a refused state can come back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from grpc import aio

from protos.interop.discovery.v1.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from protos.interop.ratelimit_config.v1.ratelimit_config_pb2 import RateLimitConfig
from tests.fakes.certificates import Ca, Issued

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
TYPE_URL = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"
PATIENCE_SECONDS = 30.0


def resource(config: RateLimitConfig) -> AnyMessage:
    return AnyMessage(type_url=TYPE_URL, value=config.SerializeToString())


class AdsServer:
    """Serves on a free port of the loopback, or on the one it had before."""

    def __init__(self, *, resends_refused: bool = False) -> None:
        self.requests: list[DiscoveryRequest] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0
        self._resends_refused = resends_refused
        self._state: DiscoveryResponse | None = None
        self._raw: list[bytes] = []
        self._end: grpc.StatusCode | None = None
        self._changed = asyncio.Condition()
        self._server: aio.Server | None = None

    @property
    def url(self) -> str:
        return f"localhost:{self.port}"

    async def start(self, certificate: Issued | None = None, client_ca: Ca | None = None) -> Self:
        self._server = aio.server()
        handler = grpc.stream_stream_rpc_method_handler(self._stream)
        methods = {"StreamAggregatedResources": handler}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        address = f"localhost:{self.port}"
        if certificate:
            self.port = self._server.add_secure_port(address, server_credentials(certificate, client_ca))
        else:
            self.port = self._server.add_insecure_port(address)
        await self._server.start()
        return self

    async def stop(self) -> None:
        if self._server:
            await self._server.stop(None)

    async def publish(self, version: str, *configs: RateLimitConfig) -> None:
        await self.publish_resources(version, [resource(config) for config in configs])

    async def publish_resources(self, version: str, resources: Sequence[AnyMessage], type_url: str = TYPE_URL) -> None:
        nonce = f"nonce-{version}"
        response = DiscoveryResponse(version_info=version, resources=resources, type_url=type_url, nonce=nonce)
        async with self._changed:
            self._state = response
            self._changed.notify_all()

    async def send(self, message: bytes) -> None:
        """Send bytes as they are, once."""
        async with self._changed:
            self._raw.append(message)
            self._changed.notify_all()

    async def end_streams(self, code: grpc.StatusCode) -> None:
        """End the streams there are."""
        async with self._changed:
            self._end = code
            self._changed.notify_all()

    async def request(self, is_wanted: Callable[[DiscoveryRequest], bool], after: int = 0) -> DiscoveryRequest:
        """Wait for a request; only those after the first `after` are looked at."""
        found: list[DiscoveryRequest] = []

        def is_there() -> bool:
            found[:] = [request for request in self.requests[after:] if is_wanted(request)]
            return bool(found)

        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(is_there)
        return found[0]

    async def _stream(
        self, messages: AsyncIterator[bytes], context: aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        async with self._changed:
            self.headers.append({str(key): str(value) for key, value in context.invocation_metadata() or ()})
            self._end = None
        inbox: list[DiscoveryRequest] = []
        reading = asyncio.create_task(self._read(messages, inbox))
        sent: list[DiscoveryResponse] = []
        try:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._raw or self._end or self._wants(inbox, sent))
                    raw, self._raw = self._raw, []
                    end, state = self._end, None if raw else self._state
                for message in raw:
                    yield message
                if end is grpc.StatusCode.OK:
                    return
                if end:
                    await context.abort(end, "as the test wants it")
                if state:
                    sent.append(state)
                    inbox.clear()
                    yield state.SerializeToString()
        finally:
            reading.cancel()

    def _wants(self, inbox: list[DiscoveryRequest], sent: list[DiscoveryResponse]) -> bool:
        if self._state is None or not (inbox or sent):
            return False
        if not sent or self._state is not sent[-1]:
            return True
        return self._resends_refused and any(request.version_info != self._state.version_info for request in inbox)

    async def _read(self, messages: AsyncIterator[bytes], inbox: list[DiscoveryRequest]) -> None:
        async for message in messages:
            request = DiscoveryRequest.FromString(message)
            async with self._changed:
                self.requests.append(request)
                inbox.append(request)
                self._changed.notify_all()


def server_credentials(certificate: Issued, client_ca: Ca | None) -> grpc.ServerCredentials:
    pair = (_content(certificate.key), _content(certificate.certificate))
    authority = _content(client_ca.path) if client_ca else None
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=client_ca is not None)


def _content(path: Path) -> bytes:
    return path.read_bytes()
