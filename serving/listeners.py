"""Where we listen: the sockets before the front, and that no two listeners have one place."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

from serving.settings import GrpcSettings, SettingsError

# Connections that may wait to be accepted; the kernel has a bound of its own (net.core.somaxconn).
_BACKLOG = 1024
# How long no connection is accepted after one could not be.
_PAUSE_SECONDS = 0.5

_LOG = logging.getLogger(__name__)

_EVERYWHERE = {"", "0.0.0.0", "::", "[::]"}  # noqa: S104 - compared with, not bound to


def apart(places: Mapping[str, tuple[str, int]]) -> None:
    """See that no two settings name one place to listen on: all listeners may share theirs, so the system says nothing.

    Raises:
        SettingsError: two do.
    """
    for (name, (host, port)), (other, (other_host, other_port)) in combinations(places.items(), 2):
        if port == other_port != 0 and (host == other_host or _EVERYWHERE & {host, other_host}):
            raise SettingsError(f"{name} and {other}: both are {port}")


class Listeners:
    """Gives every connection that comes, non-blocking, to `take`."""

    def __init__(self, take: Callable[[socket.socket], None]) -> None:
        self._take = take
        self._listeners: list[socket.socket] = []
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        """Of listeners that take nothing for a while."""

    async def start(self, settings: GrpcSettings) -> int:
        """Listen on the Unix socket, or on every address that the host has; return the port, 0 on a Unix socket.

        Raises:
            OSError: the address cannot be listened on.
        """
        uds, host, port = settings.grpc_uds, settings.grpc_host, settings.grpc_port
        self._listeners = [_unix_listener(uds)] if uds else await tcp_listeners(host, port)
        for listener in self._listeners:
            self._listen(listener)
        return 0 if uds else int(self._listeners[0].getsockname()[1])

    def stop(self) -> None:
        """Take no connection any more."""
        for listener in self._listeners:
            if pause := self._pauses.pop(listener, None):
                pause.cancel()
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners = []

    def _listen(self, listener: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection.

        Not by `sock_accept`: what that has taken is lost, open, where its task is cancelled in the same turn of the loop.
        """
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:  # pragma: no cover - its client has gone again, or another process has it
            return
        except OSError as error:
            # No more file descriptors, mostly: it goes on when some have been given back.
            _LOG.error("no connection can be accepted for %g s: %s", _PAUSE_SECONDS, error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            self._pauses[listener] = loop.call_later(_PAUSE_SECONDS, self._listen, listener)
            return
        accepted.setblocking(False)
        self._take(accepted)


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


def _unix_listener(uds: str) -> socket.socket:
    path = Path(uds)
    if path.is_socket():
        path.unlink()  # as gRPC does; it outlives the process that made it
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(_BACKLOG)
    return _opened(listener)


def _opened(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    return listener
