"""Picks what speaks gRPC: the native front where it is installed, or the grpcio server."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import grpc

from serving.calls import Method
from serving.clock import Clock
from serving.grpc_server import GrpcServer
from serving.metrics import Registry
from serving.settings import GrpcSettings, SettingsError

if TYPE_CHECKING:
    from serving.front import FrontServer

_LOG = logging.getLogger(__name__)

_PACKAGE = "pygrpc_native"


class Transport(Protocol):
    """A listener for the methods of the port and for other handlers."""

    port: int
    """The port listened on, once started; 0 on a Unix socket."""

    async def start(self) -> None:
        """Open the listener.

        Raises:
            OSError: the address cannot be listened on, or a TLS file cannot be read.
            ssl.SSLError: the TLS files do not fit together.
        """

    async def stop(self) -> None:
        """Let calls in flight finish, for the grace at most, and close."""


def make_transport(
    settings: GrpcSettings,
    methods: Sequence[Method],
    clock: Clock,
    registry: Registry,
    *,
    handlers: Sequence[grpc.GenericRpcHandler] = (),
    grace_seconds: float = 0.0,
) -> Transport:
    """Return the transport that TRANSPORT names.

    Raises:
        SettingsError: it names the front, which is not installed; or the front is installed and cannot be loaded.
    """
    front = _front_type(settings.transport) if methods else None
    if front is None:
        return GrpcServer(settings, methods, clock, registry, handlers=handlers, grace_seconds=grace_seconds)
    return front(settings, methods, clock, registry, handlers=handlers, grace_seconds=grace_seconds)


def _front_type(transport: str) -> type[FrontServer] | None:
    if transport == "grpcio":
        return None
    try:
        from serving.front import FrontServer  # noqa: PLC0415 - its package exists for some platforms only
    except ImportError as error:
        # Its absence is a platform's; anything else would be a slow service that nobody was told of.
        is_absent = isinstance(error, ModuleNotFoundError) and error.name == _PACKAGE
        if transport == "front" or not is_absent:
            raise SettingsError(f"TRANSPORT: the front cannot be used here: {error}; grpcio does without it") from None
        _LOG.warning("the native front cannot be used here, the grpcio server takes its place: %s", error)
        return None
    return FrontServer
