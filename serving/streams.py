"""How many streams are open on a connection, and on all together, by what both ends say.

    client ── HEADERS with a new id ──▶ opened       front ── END_STREAM or RST_STREAM ──▶ ended
           ── RST_STREAM ─────────────▶ ended

1. A stream costs the front 13 KiB until its answer has been taken, and a client need not take any: it reads nothing,
   or opens no window. So the front's own bound, which is one for each connection, bounds nothing together.
2. The client's side is told by the `Sieve`, which steps over its frames anyway; the front's frames are stepped over here.
3. Ids of a client ascend: HEADERS with one that is not new are the trailers of a request.
"""

from __future__ import annotations

from struct import Struct

_HEADERS, _RST_STREAM = 1, 3
_END_STREAM = 1
_STREAM_ID = 0x7FFFFFFF

# Length (24 bits) and kind, flags, stream.
_FRAME = Struct(">IBI")


class AllStreams:
    """Those of all connections."""

    def __init__(self) -> None:
        self.open = 0


class Streams:
    """Those of one connection."""

    def __init__(self, every: AllStreams) -> None:
        self.ids: set[int] = set()
        """Those that are open; the sieve adds and removes for itself, and then says `told`."""
        self.newest = 0
        """The highest id so far."""
        self._all = every
        self._counted = 0
        self._is_over = False
        # Of what the front says: bytes of a frame that are to come, or those of its head that came.
        self._unseen = 0
        self._head = b""

    def __len__(self) -> int:
        return self._counted

    def told(self) -> None:
        """Count what was opened and ended since."""
        if not self._is_over:
            now = len(self.ids)
            self._all.open += now - self._counted
            self._counted = now

    def follow(self, data: bytes) -> None:
        """Take out what the front ends."""
        if self._head:
            data, self._head = self._head + data, b""
        unpack, discard, at, last = _FRAME.unpack_from, self.ids.discard, self._unseen, len(data) - _FRAME.size
        while at <= last:
            word, flags, stream = unpack(data, at)
            kind = word & 0xFF
            if (flags & _END_STREAM and kind <= _HEADERS) or kind == _RST_STREAM:
                discard(stream & _STREAM_ID)
            at += _FRAME.size + (word >> 8)
        if at < len(data):
            self._head = data[at:]
            at = len(data)
        self._unseen = at - len(data)
        self.told()

    def end(self) -> None:
        """Forget all, for good: the connection is over."""
        self.ids.clear()
        self.told()
        self._is_over = True
