"""TLS, the age of connections and a look at messages, before the front: a relay of bytes, never of calls.

    client ══ TCP, TLS ══▶ _Client ── write ──▶ front's private socket
                             ▲                     │
                             └────── write ── _Front

1. A connection counts from its first byte: one too many is closed at once, and a handshake has a
   bound, as have the first words after it. A client whose certificate does not bear the name asked for is sent away after it.
2. One side is read no more while the other's buffer is full.
3. A client that has said all stays for its answers (TLS has no such end: there the link ends). A
   link ends when what was written has been sent, or could not be for a second.
4. A connection that is too old, or whose server is to stop, is told so between two HTTP/2 frames
   (GOAWAY): its client opens no further stream, and closes it after the last. What is still open
   after the grace is cut.
5. What a client says goes through a `Sieve`, which steps over its frames.
6. What the front says is passed on first, and then looked at for the streams that it ends. Where more are open than may
   be, over all connections, the one with most of them is ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl

from serving.goaway import GOAWAY, ends_between_frames
from serving.identity import has_name
from serving.listeners import Listeners
from serving.metrics import Registry
from serving.settings import GrpcSettings
from serving.sieve import Sieve, SieveError
from serving.streams import AllStreams, Streams
from serving.tls import Followed, TlsFiles

_LOG = logging.getLogger(__name__)

# How long written bytes may take to be sent at the end, and TLS to say goodbye.
_FAREWELL_SECONDS = 1.0

# grpcio's own, so that a fleet does not reconnect in one moment.
_AGE_JITTER = 0.1


class _Side(asyncio.Protocol):
    """One end of a link: what it reads is written to the other."""

    other: asyncio.Transport
    """Known before there is anything to pass on."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def write(self, data: bytes | bytearray) -> None:
        """Write to the other end, unless it has closed: of that its protocol hears only later."""
        if not self.other.is_closing():
            self.other.write(data)

    def pause_writing(self) -> None:
        """Read no more of what cannot be written."""
        self.other.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.other.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the reason is the peer's business
        """End the link."""
        self._link.lose()


class _Client(_Side):
    """The end that was accepted."""

    def __init__(self, link: _Link, sieve: Sieve) -> None:
        super().__init__(link)
        self._sieve = sieve
        self._early: list[bytes | bytearray] | None = []
        """What came with the end of the handshake, before the front was reached; None: it is."""

    @property
    def has_begun(self) -> bool:
        """Whether it speaks HTTP/2, as far as a first frame."""
        return self._sieve.has_begun

    def join(self, front: asyncio.Transport) -> None:
        """Pass on what came, and what will."""
        self.other = front
        front.writelines(self._early or ())
        self._early = None

    def data_received(self, data: bytes) -> None:
        """Pass on what may pass, or keep it until there is a front to pass it to."""
        try:
            passed = self._sieve.sift(data)
        except SieveError as error:
            _LOG.debug("a connection is ended: %s", error)
            self._link.abort()
            return
        if self._early is None:
            self.write(passed)
        else:
            self._early.append(passed)
        self._link.see_to_room()

    def eof_received(self) -> bool:
        """Pass the end of this direction on, and stay for the answers; over TLS one end is the end of both."""
        if self._link.is_tls or self._early is not None or self.other.is_closing():
            return False
        self.other.write_eof()
        return True


class _Front(_Side):
    """The end that was reached."""

    def data_received(self, data: bytes) -> None:
        """Pass on, and count what ends."""
        self.write(data)
        self._link.streams.follow(data)


class _Parting(_Front):
    """The front's end of a link whose client is to be told to go, until it has been told."""

    def data_received(self, data: bytes) -> None:
        """Pass on, and tell the client as soon as that is between two frames."""
        super().data_received(data)
        if ends_between_frames(data):
            self._link.say_goaway()


class _Link:
    """One client and its connection to the front."""

    _opening: asyncio.Task[None]

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self.streams = Streams(relay.streams)
        self._client = _Client(self, relay.sieve(self.streams))
        self._front = _Front(self)
        self._transports: list[asyncio.Transport] = []
        self._timer: asyncio.TimerHandle | None = None
        self._hello: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._lost = 0
        self.is_tls = relay.is_tls

    @property
    def buffered_bytes(self) -> int:
        """What was read and not yet sent, in both directions."""
        return 0 if self._is_closing else sum(one.get_write_buffer_size() for one in self._transports)

    def see_to_room(self) -> None:
        """See that no more streams are open than may be."""
        if self._relay.is_full:
            self._relay.make_room()

    def begin(self, accepted: socket.socket) -> None:
        """Shake hands and reach the front."""
        self._opening = asyncio.create_task(self._open(accepted))

    def lose(self) -> None:
        """Note that one of the connections has ended."""
        self._lost += 1
        if self._lost < len(self._transports):
            self.close()
        else:
            self._is_closing = True
            self._forget()

    def close(self) -> None:
        """Send what was written, and end both connections."""
        if not self._is_closing:
            self._is_closing = True
            self._set_timer(self._loop.call_later(_FAREWELL_SECONDS, self.abort))
            for transport in self._transports:
                transport.close()

    def abort(self) -> None:
        """End both connections now."""
        self._is_closing = True
        self._forget()
        self._opening.cancel()
        for transport in self._transports:
            transport.abort()

    def part(self) -> None:
        """Tell the client to go, at the next place where that can be said."""
        if len(self._transports) < 2 or self._is_closing:
            return
        parting = _Parting(self)
        parting.other = self._front.other
        self._transports[1].set_protocol(parting)
        self._set_timer(self._loop.call_later(self._relay.settings.grpc_max_connection_age_grace, self.close))

    def say_goaway(self) -> None:
        """Tell the client to go; what it reads next is a new frame."""
        if not self._transports[0].is_closing():
            self._transports[0].write(GOAWAY)
        self._transports[1].set_protocol(self._front)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            client = await self._relay.secure(accepted, self._client)
            self._transports.append(client)
            self._relay.check(client)
            client.pause_reading()
            # The front speaks first, maybe before we are told that it was reached.
            self._front.other = client
            front, _ = await self._loop.create_unix_connection(lambda: self._front, self._relay.path)
        except (OSError, asyncio.CancelledError) as error:  # an ssl.SSLError and a timeout are OSErrors
            self._relay.failed.add()
            _LOG.debug("a client could not be connected: %s", error)
            self.abort()
        else:
            self._join(client, front)

    def _join(self, client: asyncio.Transport, front: asyncio.Transport) -> None:
        self._transports.append(front)
        if self._is_closing:
            front.abort()
            return
        settings = self._relay.settings
        for transport in self._transports:
            transport.set_write_buffer_limits(settings.grpc_relay_buffer_bytes_max)
        self._client.join(front)
        client.resume_reading()
        self._hello = self._loop.call_later(settings.grpc_tls_handshake_timeout, self._expect_hello)
        if settings.grpc_max_connection_age:
            share = random.uniform(1 - _AGE_JITTER, 1 + _AGE_JITTER)  # noqa: S311 - nobody gains from guessing it
            self._set_timer(self._loop.call_later(share * settings.grpc_max_connection_age, self.part))

    def _expect_hello(self) -> None:
        """End the link if its client has said nothing: the front would wait for ever."""
        self._hello = None
        if not self._client.has_begun:
            self._relay.failed.add()
            self.abort()

    def _forget(self) -> None:
        self._relay.links.discard(self)
        if self._hello is not None:
            self._hello.cancel()
        self.streams.end()
        self._set_timer(None)

    def _set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer


class Relay:
    """A listener whose connections end at the front."""

    def __init__(self, settings: GrpcSettings, files: TlsFiles | None, path: str, registry: Registry) -> None:
        self.settings = settings
        self.path = path
        self.is_tls = files is not None
        self.links: set[_Link] = set()
        self.streams = AllStreams()
        self._followed = Followed(files, _context) if files is not None else None
        self._context: ssl.SSLContext | None = None
        self._listeners = Listeners(self._take)
        self.failed = registry.counter("weir.relay.failed")
        self._refused = registry.counter("weir.relay.refused")
        self._kept_back = registry.counter("weir.relay.messages_refused")
        self._cut = registry.counter("weir.relay.cut")
        registry.gauge("weir.relay.streams", lambda: self.streams.open)
        registry.gauge("weir.relay.connections", lambda: len(self.links))
        registry.gauge("weir.relay.buffered_bytes", lambda: sum(link.buffered_bytes for link in self.links))
        self.port = 0
        """The port listened on, once started; 0 on a Unix socket."""

    def sieve(self, streams: Streams) -> Sieve:
        """Return what a new client's bytes go through."""
        settings = self.settings
        return Sieve(
            settings.grpc_message_bytes_max, settings.grpc_max_concurrent_streams, self._kept_back.add, streams
        )

    @property
    def is_full(self) -> bool:
        """Whether more streams are open than may be."""
        return self.streams.open > self.settings.grpc_streams_max

    def make_room(self) -> None:
        """End the connections with most streams until no more are open than may be."""
        while self.is_full:
            largest = max(self.links, key=lambda link: len(link.streams))
            self._cut.add()
            _LOG.debug("a connection is ended: %d of %d streams are its", len(largest.streams), self.streams.open)
            largest.abort()

    async def start(self) -> None:
        """Open the listener.

        Raises:
            OSError: the address cannot be listened on, or a TLS file cannot be read.
            ssl.SSLError: the TLS files do not fit together.
        """
        if self._followed is not None:
            self._context = self._followed.first()
        self.port = await self._listeners.start(self.settings)

    def part(self) -> None:
        """Accept no connection any more, and tell every client to go."""
        self._listeners.stop()
        for link in self.links:
            link.part()

    async def stop(self) -> None:
        """Send what was written, and end every connection."""
        self._listeners.stop()
        for link in list(self.links):
            link.close()
        # Each link aborts itself when its farewell has lasted too long.
        while self.links:  # noqa: ASYNC110 - an event would be one more thing to keep for each link
            await asyncio.sleep(_FAREWELL_SECONDS / 100)
        # What was aborted lets go of its socket in the next turns of the loop.
        await asyncio.sleep(_FAREWELL_SECONDS / 100)

    async def secure(self, accepted: socket.socket, client: _Client) -> asyncio.Transport:
        """Return a connection to speak over, after its handshake where TLS is asked for.

        Raises:
            OSError: the handshake failed, or its time was up.
        """
        loop = asyncio.get_running_loop()
        if self._followed is None or self._context is None:
            transport, _ = await loop.connect_accepted_socket(lambda: client, accepted)
            return transport
        self._context = self._followed.changed() or self._context
        transport, _ = await loop.connect_accepted_socket(
            lambda: client,
            accepted,
            ssl=self._context,
            ssl_handshake_timeout=self.settings.grpc_tls_handshake_timeout,
            ssl_shutdown_timeout=_FAREWELL_SECONDS,
        )
        return transport

    def check(self, client: asyncio.Transport) -> None:
        """See that a client is whom we serve.

        Raises:
            PermissionError: it does not bear the name asked for.
        """
        name = self.settings.grpc_client_tls_san
        if self.is_tls and name and not has_name(_names(client), name):
            raise PermissionError("the client certificate does not bear the name asked for")

    def _take(self, accepted: socket.socket) -> None:
        if len(self.links) >= self.settings.grpc_connections_max:
            self._refused.add()
            accepted.close()
            return
        link = _Link(self)
        self.links.add(link)
        link.begin(accepted)


def _names(transport: asyncio.Transport) -> list[str]:
    certificate = transport.get_extra_info("peercert") or {}
    return [name for _, name in certificate.get("subjectAltName", ())]


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = files.context()
    context.set_alpn_protocols(["h2"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    # Each connection proves itself anew: none is taken up from before a CA was replaced.
    context.num_tickets = 0
    return context
