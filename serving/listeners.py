"""Where we listen: the sockets before the front, and that no two listeners have one place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from serving.settings import GrpcSettings, SettingsError

# Connections that may wait to be accepted; the kernel has a bound of its own (net.core.somaxconn).
_BACKLOG = 1024

_EVERYWHERE = {"", "0.0.0.0", "::", "[::]"}  # noqa: S104 - compared with, not bound to


def apart(places: Mapping[str, tuple[str, int]]) -> None:
    """See that no two settings name one place to listen on: all listeners may share theirs, so the system says nothing.

    Raises:
        SettingsError: two do.
    """
    for (name, (host, port)), (other, (other_host, other_port)) in combinations(places.items(), 2):
        if port == other_port != 0 and (host == other_host or _EVERYWHERE & {host, other_host}):
            raise SettingsError(f"{name} and {other}: both are {port}")


async def listen(settings: GrpcSettings) -> list[socket.socket]:
    """Listen on the Unix socket, or on every address that the host has.

    Raises:
        OSError: the address cannot be listened on.
    """
    if settings.grpc_uds:
        return [_unix_listener(settings)]
    return await tcp_listeners(settings.grpc_host, settings.grpc_port)


async def tcp_listeners(host: str, wanted_port: int) -> list[socket.socket]:
    """Listen on every address that the host has, on one port.

    Raises:
        OSError: an address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host or None, wanted_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    for family, _, _, _, address in found:
        # "::" alone is for both families, as for gRPC and for the reference; asyncio alone would take IPv6 only.
        is_dual = family == socket.AF_INET6 and len(found) == 1
        port = listeners[0].getsockname()[1] if listeners else wanted_port
        # Several processes may share the port, as the reference's do.
        listener = socket.create_server(
            (address[0], port), family=family, backlog=_BACKLOG, reuse_port=True, dualstack_ipv6=is_dual
        )
        listeners.append(_opened(listener))
    return listeners


def _unix_listener(settings: GrpcSettings) -> socket.socket:
    path = Path(settings.grpc_uds)
    if path.is_socket():
        path.unlink()  # as gRPC does; it outlives the process that made it
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(_BACKLOG)
    return _opened(listener)


def _opened(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    return listener
