"""The native front as a transport: HTTP/2 and gRPC framing outside the GIL, decisions in Python.

    client ──▶ relay ──▶ front (Rust threads) ── id, method, message, details ──▶ receiver (a thread)
                           │                                                         │ whatever has arrived
                           │ every other method, bytes through                       ▼
                           ▼                                                event loop: Batches of the method
                  GrpcServer on a private socket                                     │ reply
                  (health, reflection, streams)                                      ▼
                                                                          front.respond / front.fail, by id

1. The front is an accelerator, never a second implementation: the same methods in the same
   `Batches`, and for everything else the same grpcio server.
2. The receiver hands over whatever has arrived and never waits for more. What is too large is
   refused before it is queued, what finds no room by the queue.
3. A client that has gone and a deadline that has passed come as events: the call leaves the queue.
4. The front has no TLS, no age of connections and no bound of a message: it listens on a private socket behind a
   `Relay`, which has all three.
5. Closing the front drops what is in flight, so it comes last: after the calls in flight, or the
   grace. Until then every call is answered.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from serving.batches import Batches, Waiting
from serving.calls import Call, Caller, Failure, Method, Reply, StatusCode
from serving.clock import Clock
from serving.grpc_handlers import Unpacking
from serving.grpc_server import GrpcServer, batches_of
from serving.identity import bearer_token
from serving.metrics import Registry
from serving.private_folder import make_private_folder
from serving.relay import Relay
from serving.settings import GrpcSettings
from serving.sieve import UnpackError, compressed_bytes_max, unpacked
from serving.spans import trace_headers
from serving.tls import tls_files

# One thread keeps up with what one Python process can decide, and leaves the core to it.
_IO_THREADS = 1

# Events taken from the front at a time, cancellations among them.
_EVENTS_MAX = 1024

# How often it is looked whether calls are in flight, once we are to stop.
_QUIET_SECONDS = 0.02

# Connections whose caller is remembered, since making one costs as much as queueing its call.
_CALLERS_MAX = 1024

# What the server behind does not do again.
_PRIVATE = {
    "grpc_server_use_tls": False,
    "grpc_client_tls_san": "",
    "grpc_client_tls_cacert": "",
    "grpc_server_tls_ca_cert": "",
    "grpc_max_connection_age": 0.0,
    # Bounded by the relay.
    "grpc_connections_max": 2**31 - 1,
    "grpc_streams_max": 2**31 - 1,
}

_Details: TypeAlias = tuple[tuple[tuple[str, str | bytes], ...], str, float | None]
_Event: TypeAlias = tuple[int, int, int, bytes | None, bytes | str | None, _Details | None]


@dataclass(slots=True, eq=False)
class _Asked(Waiting):
    """A call of the front's, which is answered by its id."""

    server: FrontServer
    batches: Batches
    id: int

    @property
    def is_gone(self) -> bool:
        """Whether it has its reply, or the client has gone."""
        return self.id not in self.server.open

    def give(self, reply: Reply) -> None:
        """Send the reply, unless the client has gone."""
        if self.server.open.pop(self.id, None) is not None:
            self.server.answer(self.id, reply)


class FrontServer:
    """One listener, with a grpcio server behind it."""

    def __init__(
        self,
        settings: GrpcSettings,
        methods: Sequence[Method],
        clock: Clock,
        registry: Registry,
        *,
        handlers: Sequence[grpc.GenericRpcHandler] = (),
        grace_seconds: float = 0.0,
    ) -> None:
        self._settings = settings
        self._methods = methods
        self._keeps_trace = any(method.keeps_trace for method in methods)
        self._clock = clock
        self._registry = registry
        self._handlers = handlers
        self._grace_seconds = grace_seconds
        self._batches = [batches_of(method, clock, registry, settings) for method in methods]
        self._bytes_max = settings.grpc_message_bytes_max
        # A shorter message is neither packed nor too long.
        self._bytes_min = compressed_bytes_max(self._bytes_max)
        self._callers: dict[str, Caller] = {}
        self._folder: Path | None = None
        self._fallback: GrpcServer | None = None
        self._front: NativeGrpcFront | None = None
        self._relay: Relay | None = None
        self._receiver: threading.Thread | None = None
        self.open: dict[int, _Asked] = {}
        """Calls that have no reply yet, by their ids."""
        self.port = 0
        """The port listened on, once started; 0 on a Unix socket."""

    async def start(self) -> None:
        """Open the listener.

        Raises:
            OSError: the address cannot be listened on, or a TLS file cannot be read.
            ssl.SSLError: the TLS files do not fit together.
        """
        self._folder = make_private_folder()
        fallback, behind = str(self._folder / "fallback"), str(self._folder / "front")
        self._relay = Relay(self._settings, tls_files(self._settings), behind, self._registry)
        await self._start_fallback(fallback)
        self._front = self._listen(f"unix:{behind}", fallback)
        self._receiver = threading.Thread(
            target=_receive, args=(self._front, asyncio.get_running_loop(), self._arrived), name="front", daemon=True
        )
        self._receiver.start()
        await self._relay.start()
        self.port = self._relay.port

    async def stop(self) -> None:
        """Wait for calls in flight, for the grace at most, then close."""
        if self._relay is not None:
            self._relay.part()
        if self._fallback is not None:
            await asyncio.gather(self._until_quiet(), self._fallback.stop())
        if self._front is not None:
            await asyncio.to_thread(self._front.close)
        if self._relay is not None:
            await self._relay.stop()
        if self._receiver is not None:
            await asyncio.to_thread(self._receiver.join)
        for batches in self._batches:
            await batches.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _start_fallback(self, path: str) -> None:
        self._fallback = GrpcServer(
            self._settings.model_copy(update={**_PRIVATE, "grpc_uds": path}),
            (),
            self._clock,
            self._registry,
            handlers=[Unpacking(handler, self._bytes_max) for handler in self._handlers],
            grace_seconds=self._grace_seconds,
        )
        await self._fallback.start()

    def _listen(self, address: str, fallback: str) -> NativeGrpcFront:
        settings = self._settings
        front = NativeGrpcFront(
            address,
            [(method.path, False) for method in self._methods],
            io_threads=_IO_THREADS,
            call_details=True,
            keepalive_time_ms=round(settings.grpc_keepalive_time * 1000),
            keepalive_timeout_ms=round(settings.grpc_keepalive_timeout * 1000),
            max_metadata_size=settings.grpc_metadata_bytes_max,
            max_concurrent_streams=settings.grpc_max_concurrent_streams,
        )
        front.set_fallback(fallback)
        front.start()
        return front

    async def _until_quiet(self) -> None:
        end = self._clock.steady() + self._grace_seconds
        while self.open and self._clock.steady() < end:  # noqa: ASYNC110 - an event would be set for every call
            await asyncio.sleep(_QUIET_SECONDS)
        # A reply is handed to the front's thread, and lost if the front is closed before it is on the wire: of 150
        # replies 36 were, closed at once, and none after this wait.
        await asyncio.sleep(_QUIET_SECONDS)

    def _arrived(self, events: Sequence[_Event]) -> None:
        now = self._clock.steady()
        for kind, call_id, method_id, message, _, details in events:
            if kind == EVENT_CALL and message is not None and details is not None:
                self._ask(call_id, self._batches[method_id], message, details, now)
            elif call_id in self.open:
                waiting = self.open.pop(call_id)
                waiting.batches.drop(waiting)

    def _ask(self, call_id: int, batches: Batches, message: bytes, details: _Details, now: float) -> None:
        metadata, peer, remaining_seconds = details
        if len(message) > self._bytes_min:
            whole = _unpacked(message, self._bytes_max)
            if isinstance(whole, Failure):
                self.answer(call_id, whole)
                return
            message = whole
        deadline = math.inf if remaining_seconds is None else now + remaining_seconds
        trace = trace_headers(metadata) if self._keeps_trace else ()
        call = Call(message, deadline, self._caller(peer, bearer_token(metadata)), trace)
        waiting = self.open[call_id] = _Asked(call, self, batches, call_id)
        batches.submit(waiting)

    def _caller(self, peer: str, token: str) -> Caller:
        if token:
            return Caller(peer, token=token)
        caller = self._callers.get(peer)
        if caller is None:
            if len(self._callers) >= _CALLERS_MAX:
                self._callers.clear()
            caller = self._callers[peer] = Caller(peer)
        return caller

    def answer(self, call_id: int, reply: Reply) -> None:
        """Send a reply; nothing happens where the client has gone."""
        if self._front is None:
            return
        if isinstance(reply, bytes):
            self._front.respond(call_id, reply)
        else:
            self._front.fail(call_id, reply.status, reply.detail)


def _unpacked(message: bytes, bytes_max: int) -> bytes | Failure:
    try:
        whole = unpacked(message, bytes_max)
    except UnpackError as error:
        return Failure(StatusCode.INTERNAL, str(error))
    if len(whole) > bytes_max:
        return Failure(StatusCode.RESOURCE_EXHAUSTED, f"a message of more than {bytes_max} bytes")
    return whole


def _receive(
    front: NativeGrpcFront, loop: asyncio.AbstractEventLoop, arrived: Callable[[Sequence[_Event]], None]
) -> None:
    """Hand over what arrives until the front is closed; runs on a thread of its own."""
    while (events := front.recv_batch_details(_EVENTS_MAX)) is not None:
        try:
            loop.call_soon_threadsafe(arrived, events)
        except RuntimeError:  # the loop has ended before us
            return
