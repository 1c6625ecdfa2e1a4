"""The grpcio server as a transport of the batch port.

    call ──▶ Call(message, deadline, caller) ──▶ Batches of its method ──▶ bytes | Failure ──▶ status

1. Messages are bytes in and out; nothing is decoded here.
2. What is no unary method of the port (health, reflection, streams) is registered beside it.
3. Stopping says GOAWAY to every connection, then waits for calls in flight, for the grace at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import grpc

from serving.batches import Batches
from serving.calls import Call, Caller, Method
from serving.clock import Clock
from serving.grpc_handlers import Context, MethodHandler, NamedClients, Paths, caller_of
from serving.identity import bearer_token
from serving.metrics import Registry
from serving.settings import GrpcSettings
from serving.spans import trace_headers
from serving.tls import TlsFiles, server_credentials, tls_files

_CODES = {code.value[0]: code for code in grpc.StatusCode}

# Envoy and gRPC clients that keep idle connections alive ping every 10 to 60 s; gRPC's own 5 minutes would
# have them sent away with "too_many_pings".
_PING_INTERVAL_MIN_MS = 5_000

# The largest C int, which grpcio takes for "never".
_NEVER_MS = 2**31 - 1

# The largest that gRPC's core takes; it ends the process over the next one.
_CONNECTIONS_MAX = 2**31 - 2


class GrpcServer:
    """One listener: `start` opens it, `stop` lets calls in flight finish."""

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
        self._clock = clock
        self._handlers = handlers
        self._grace_seconds = grace_seconds
        self._batches = {method.path: batches_of(method, clock, registry, settings) for method in methods}
        self._tls: TlsFiles | None = None
        self._server: grpc.aio.Server | None = None
        self.port = 0
        """The port listened on, once started; 0 on a Unix socket."""

    async def start(self) -> None:
        """Open the listener.

        Raises:
            OSError: a TLS file cannot be read, or the address cannot be listened on.
            ssl.SSLError: the TLS files do not fit together.
        """
        self._tls = tls_files(self._settings)
        server = grpc.aio.server(
            options=_options(self._settings), maximum_concurrent_rpcs=self._settings.grpc_streams_max
        )
        server.add_generic_rpc_handlers(self._guarded([self._unary_methods(), *self._handlers]))
        try:
            self.port = self._bind(server)
        except RuntimeError as error:  # what grpcio raises, whatever the reason
            raise OSError(f"cannot listen on {address_of(self._settings)}") from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Send every connection away, wait for calls in flight for the grace, cut the rest."""
        if self._server is not None:
            await self._server.stop(self._grace_seconds)
            self._server = None
        for batches in self._batches.values():
            await batches.stop()

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        address = address_of(settings)
        if self._tls is not None:
            port = server.add_secure_port(address, server_credentials(self._tls))
        else:
            port = server.add_insecure_port(address)
        return 0 if settings.grpc_uds else port

    def _guarded(self, handlers: Sequence[grpc.GenericRpcHandler]) -> Sequence[grpc.GenericRpcHandler]:
        name = self._settings.grpc_client_tls_san
        if not (name and self._tls):
            return handlers
        return [NamedClients(handler, name) for handler in handlers]

    def _unary_methods(self) -> grpc.GenericRpcHandler:
        is_verified = self._tls is not None and self._tls.client_ca
        caller = caller_of if is_verified else _plain_caller
        return Paths(
            {
                method.path: _unary(self._batches[method.path], self._clock, caller, keeps_trace=method.keeps_trace)
                for method in self._methods
            }
        )


def batches_of(method: Method, clock: Clock, registry: Registry, settings: GrpcSettings) -> Batches:
    """Return the queue of a method, bounded by the settings."""
    return Batches(
        method.handler,
        clock,
        registry,
        calls_max=settings.queue_calls_max,
        batch_max=settings.batch_calls_max,
        in_flight_max=settings.batches_in_flight_max,
        method=method.label or method.path.rpartition("/")[2],
    )


def _unary(batches: Batches, clock: Clock, caller: Callable[[Context], Caller], *, keeps_trace: bool) -> MethodHandler:
    async def answer(message: bytes, context: Context) -> bytes:
        remaining: float | None = context.time_remaining()
        deadline = math.inf if remaining is None else clock.steady() + remaining
        trace = trace_headers(context.invocation_metadata() or ()) if keeps_trace else ()
        reply = await batches.ask(Call(message, deadline, caller(context), trace))
        if not isinstance(reply, bytes):
            await context.abort(_CODES[reply.status], reply.detail)
        return reply

    return grpc.unary_unary_rpc_method_handler(answer)


def _plain_caller(context: Context) -> Caller:
    return Caller(context.peer(), token=bearer_token(context.invocation_metadata() or ()))


def address_of(settings: GrpcSettings) -> str:
    """Return where to listen, as gRPC writes it."""
    if settings.grpc_uds:
        return f"unix:{settings.grpc_uds}"
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    return f"{host}:{settings.grpc_port}"


def _age_ms(seconds: float) -> int:
    return min(round(seconds * 1000), _NEVER_MS) or _NEVER_MS


def _options(settings: GrpcSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.grpc_message_bytes_max),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", settings.grpc_max_concurrent_streams),
        ("grpc.max_allowed_incoming_connections", min(settings.grpc_connections_max, _CONNECTIONS_MAX)),
        ("grpc.server_handshake_timeout_ms", min(round(settings.grpc_tls_handshake_timeout * 1000), _NEVER_MS)),
        ("grpc.max_connection_age_ms", _age_ms(settings.grpc_max_connection_age)),
        ("grpc.max_connection_age_grace_ms", min(round(settings.grpc_max_connection_age_grace * 1000), _NEVER_MS)),
        ("grpc.keepalive_time_ms", round(settings.grpc_keepalive_time * 1000)),
        ("grpc.keepalive_timeout_ms", round(settings.grpc_keepalive_timeout * 1000)),
        ("grpc.max_metadata_size", settings.grpc_metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", settings.grpc_metadata_bytes_max),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _PING_INTERVAL_MIN_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        # Several processes may share the port, as the reference's do.
        ("grpc.so_reuseport", 1),
    ]
