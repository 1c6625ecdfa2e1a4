"""Rules from a management server: aggregated discovery, state of the world.

    connect ──▶ subscribe ──▶ response ──▶ apply ──▶ ACK or NACK ─┐
       ▲                         ▲                                │
       └── wait ◀── stream ends ─┴────────────────────────────────┘

1. Every response is the whole state: one bad resource refuses all of them, and the rules in
   force stay. So they do while no stream can be had, for as long as it takes.
2. A server that cannot be reached is tried again at a steady pace; a stream that broke after it
   worked waits longer each time, so that a restarted server is not run over by its clients.
3. An empty set is a good one: gateways send it before their first rule is written.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from protos.interop.discovery.v1.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from ratelimit.config.resources import TYPE_URL, read_resources
from ratelimit.config.subscription import Subscription
from ratelimit.config.xds_channel import METHOD, headers, node_metadata, open_channel
from ratelimit.errors import ConfigError
from ratelimit.settings import ConfigSettings
from ratelimit.source import Apply, News

log = logging.getLogger(__name__)

DETAIL_CHARACTERS_MAX = 500
# Precedent: the wait before a connection is tried again is spread by as much in the reference.
CONNECT_SPREAD = 0.5
GROWTH = 2.0


class StreamEndedError(Exception):
    """The stream ended; the message says how."""

    def __init__(self, message: str, *, is_unreachable: bool = False) -> None:
        super().__init__(message)
        self.is_unreachable = is_unreachable


class XdsSource:
    """A management server."""

    def __init__(self, settings: ConfigSettings, apply: Apply, *, random: Random | None = None) -> None:
        self._settings = settings
        self._apply = apply
        self._subscription = Subscription(
            settings.config_grpc_xds_node_id, node_metadata(settings.config_grpc_xds_node_metadata)
        )
        self._headers = headers(settings)
        self._pauses = Pauses(settings, random or Random())  # noqa: S311 - spreads waits, hides nothing
        self._is_working = False
        self._is_refusing = False
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe; wait for the first state unless FORCE_START_WITHOUT_INITIAL_CONFIG says not to."""
        self._task = asyncio.create_task(self._run())
        if not self._settings.force_start_without_initial_config:
            log.warning("waiting for the first rules from %s", self._settings.config_grpc_xds_server_url)
            await self._answered.wait()

    async def stop(self) -> None:
        """Leave the stream."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            pause = await self._attempt()
            log.info("trying again in %.1f s", pause)
            await asyncio.sleep(pause)

    async def _attempt(self) -> float:
        """Follow one stream to its end; return how long to wait."""
        server = self._settings.config_grpc_xds_server_url
        self._is_working = False
        try:
            await self._follow()
        except StreamEndedError as error:
            log.warning("stream of management server %s ended: %s", server, error)
            if error.is_unreachable and not self._is_working:
                return self._pauses.unreachable()
        except Exception:  # whatever it was, rules must be able to change again
            log.exception("stream of management server %s failed", server)
        return self._pauses.broken()

    async def _follow(self) -> None:
        try:
            channel = open_channel(self._settings)
        except OSError as error:
            raise StreamEndedError(f"{error.filename}: {error.strerror}", is_unreachable=True) from None
        async with channel:
            call: aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(METHOD)(metadata=self._headers)
            try:
                await self._converse(call)
            except aio.AioRpcError as error:
                raise _ended(error.code(), error.details()) from None

    async def _converse(self, call: aio.StreamStreamCall[bytes, bytes]) -> None:
        await call.write(self._subscription.first().SerializeToString())
        while isinstance(message := await call.read(), bytes):
            answer = await self._answer(_parsed(message))
            if answer:
                await call.write(answer.SerializeToString())
        raise _ended(await call.code(), await call.details())

    async def _answer(self, response: DiscoveryResponse) -> DiscoveryRequest | None:
        self._is_working = True
        self._pauses.reset()
        if response.type_url not in {"", TYPE_URL}:
            log.warning(
                "management server sent '%s', which nobody asked for", response.type_url[:DETAIL_CHARACTERS_MAX]
            )
            return None
        error = await self._apply(await asyncio.to_thread(_news, response))
        self._answered.set()
        if error is None:
            self._is_refusing = False
            return self._subscription.accept(response)
        # Python 3.11 traces nothing that goes on after a future failed; tests/contract runs it.
        if self._is_refusing:  # pragma: no cover - as above
            await asyncio.sleep(self._settings.xds_client_nack_interval)
        self._is_refusing = True
        return self._subscription.refuse(response, error)


class Pauses:
    """How long to wait before the next stream."""

    def __init__(self, settings: ConfigSettings, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._broken = 0

    def unreachable(self) -> float:
        """Return the wait after a connection that failed."""
        return self._spread(self._settings.config_grpc_xds_server_connect_retry_interval, CONNECT_SPREAD)

    def broken(self) -> float:
        """Return the wait after a stream that broke: longer each time, up to a bound."""
        settings = self._settings
        longest = settings.xds_client_backoff_max_interval
        wait = min(settings.xds_client_backoff_initial_interval * GROWTH**self._broken, longest)
        # Growing further would change nothing, and overflow some day.
        self._broken += wait < longest
        return min(self._spread(wait, settings.xds_client_backoff_random_factor), longest)

    def reset(self) -> None:
        """Begin anew: a stream works."""
        self._broken = 0

    def _spread(self, wait: float, share: float) -> float:
        if not self._settings.xds_client_backoff_jitter:
            return wait
        return wait * self._random.uniform(1 - share, 1 + share)


def _news(response: DiscoveryResponse) -> News:
    try:
        return read_resources(response.resources)
    except ConfigError as error:
        return error


def _parsed(message: bytes) -> DiscoveryResponse:
    try:
        return DiscoveryResponse.FromString(message)
    except DecodeError as error:
        raise StreamEndedError(f"not a discovery response: {error}") from None


def _ended(code: grpc.StatusCode, detail: str | None) -> StreamEndedError:
    message = f"{code.name}: {(detail or '')[:DETAIL_CHARACTERS_MAX]}"
    return StreamEndedError(message, is_unreachable=code is grpc.StatusCode.UNAVAILABLE)
