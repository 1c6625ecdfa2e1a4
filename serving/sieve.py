"""Keeps from the front what would grow in it: messages that may unpack to more than is taken, and far too long ones.

    client ── frames ──▶ DATA: flag, length, body … ──▶ the same bytes, but for the flag of a message that may grow

1. The front gathers a message whole, and unpacks it whole, before anybody sees its size: 1.5 MB of gzip became 1.5 GB.
   So flag and length of each message are looked at before it.
2. A compressed message that cannot unpack to more than is taken, whatever is in it, is the front's to unpack: deflate
   gains a factor of 1032 at most. Any other is marked as plain, so that it goes on as it is, and `unpacked` behind the
   front stops at the size. It knows such a message by its first bytes, with which no protobuf begins (no wire type 7).
3. A message that is longer than twice what is taken gets a flag that means nothing, which the front refuses at once. Up
   to there it goes on, to be answered RESOURCE_EXHAUSTED.
4. Frames and messages are stepped over by their lengths. No header is read, and no byte added or taken away.
5. A head that a read has cut is held back for the next one: nobody can use it before it is whole. A head that its sender
   cut over two frames is refused if it is compressed, and ends the connection if it is too long: nobody needs either.
6. Streams in the middle of a message are kept by their ids; a connection has not many more than it may open.
7. Streams that begin, and those that the client gives up, are told to `Streams`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from serving.streams import Streams

_DATA, _HEADERS, _RST_STREAM = 0, 1, 3
_END_STREAM, _PADDED = 1, 8
_PREFACE_BYTES = 24
_STREAM_ID = 0x7FFFFFFF

# Of a frame: length (24 bits) and kind, flags, stream. Of a message: flag, length.
_FRAME = Struct(">IBI")
_MESSAGE = Struct(">BI")
_BOTH = Struct(">IBIBI")

# A message has one of the first two.
_PLAIN, _COMPRESSED, _NONSENSE = 0, 1, 2

# What deflate gains at most: a match of 258 bytes by two bits.
_GAIN_MAX = 1032

# How a gzip stream begins, and how zlib is told to read one.
_GZIP = b"\x1f\x8b\x08"
_GZIP_WBITS = 31


class SieveError(Exception):
    """A client sends what can be neither passed on nor refused by itself; end its connection."""


class UnpackError(Exception):
    """What is packed in a message is damaged or cut."""


def compressed_bytes_max(bytes_max: int) -> int:
    """Return the size up to which a compressed message cannot unpack to more than is taken."""
    return bytes_max // _GAIN_MAX


def unpacked(message: bytes, bytes_max: int) -> bytes:
    """Return what is in a message that may be packed, or a part of it that is larger than what is taken.

    Raises:
        UnpackError: it is damaged or cut.
    """
    if not message.startswith(_GZIP):
        return message
    unpacking = zlib.decompressobj(_GZIP_WBITS)
    try:
        whole = unpacking.decompress(message, bytes_max + 1)
    except zlib.error as error:
        raise UnpackError(f"the message cannot be unpacked: {error}") from None
    if not unpacking.eof and len(whole) <= bytes_max:
        raise UnpackError("the message cannot be unpacked: it is cut")
    return whole


@dataclass(slots=True)
class _Messages:
    """Where a stream is in its messages."""

    left: int = 0
    """Bytes of the body of the current message that are still to come."""
    head: bytes = b""
    """What an earlier frame had of the next message's head."""


class Sieve:
    """What one client sends, in order."""

    def __init__(self, bytes_max: int, streams_max: int, refused: Callable[[], None], streams: Streams) -> None:
        self._plain_max = bytes_max * 2
        self._compressed_max = compressed_bytes_max(bytes_max)
        # A stream that the front has reset is closed for everybody but us, until its client says so.
        self._streams_max = streams_max * 2
        self._refused = refused
        self._streams = streams
        self._open: dict[int, _Messages] = {}
        self._held = b""
        # Bytes to come that are passed on unseen.
        self._unseen = _PREFACE_BYTES
        self.has_begun = False
        """Whether a first frame has come after the preface."""
        # The DATA frame that is open: bytes of its payload to come, and what it belongs to.
        self._rest = 0
        self._padding = 0
        self._stream = 0
        self._is_last = False
        self._messages = _Messages()

    def sift(self, data: bytes) -> bytes | bytearray:
        """Return what is to be passed on now.

        Raises:
            SieveError: the connection is to be ended.
        """
        if self._held:
            data, self._held = self._held + data, b""
        changed: dict[int, int] = {}
        at, end = self._unseen, len(data)
        self.has_begun = self.has_begun or at < end
        while at < end:
            begun = at
            at = self._follow(data, at, changed) if self._rest else self._begin(data, self._step_over(data, at))
            if at == begun:
                self._held = data[at:]
                data = data[:at]
                end = at
        self._unseen = at - end
        self._streams.told()
        return _with_flags(data, changed) if changed else data

    def _step_over(self, data: bytes, at: int) -> int:
        """Return where the first frame begins that is more than a whole message of a stream that ends, or none."""
        unpack, is_open, plain_max, last = _BOTH.unpack_from, self._open, self._plain_max, len(data) - _BOTH.size
        streams = self._streams
        while at <= last:
            word, flags, stream, flag, length = unpack(data, at)
            if is_open and stream & _STREAM_ID in is_open:
                break
            kind, size = word & 0xFF, word >> 8
            if kind == _HEADERS:
                # As `_note`, of which the call would cost as much again.
                if stream & _STREAM_ID > streams.newest:
                    streams.newest = stream & _STREAM_ID
                    streams.ids.add(streams.newest)
            elif kind == _RST_STREAM or (
                not kind and (flags != _END_STREAM or flag or length != size - 5 or length > plain_max)
            ):
                break
            at += 9 + size
        return at

    def _begin(self, data: bytes, at: int) -> int:
        """Return where the payload of a frame begins that is to be looked at, or where its frame ends."""
        if len(data) - at < _FRAME.size:
            return at
        word, flags, stream = _FRAME.unpack_from(data, at)
        size: int = word >> 8
        kind, stream = word & 0xFF, stream & _STREAM_ID
        begin, padding = at + _FRAME.size, 0
        if kind != _DATA:
            if kind == _HEADERS:
                self._note(stream)
            elif kind == _RST_STREAM:
                self._streams.ids.discard(stream)
            if kind == _RST_STREAM or (kind == _HEADERS and flags & _END_STREAM):
                self._open.pop(stream, None)
            return begin + size
        if flags & _PADDED and size:
            if begin == len(data):
                return at
            padding = data[begin]
            begin, size = begin + 1, size - 1 - padding
            if size < 0:
                raise SieveError("a frame is shorter than its padding")
        self._rest, self._padding, self._stream, self._is_last = size, padding, stream, bool(flags & _END_STREAM)
        self._messages = self._open.pop(stream) if stream in self._open else _Messages()
        return begin if size else self._end(begin)

    def _note(self, stream: int) -> None:
        """Note a stream that begins here, if it does."""
        streams = self._streams
        if stream > streams.newest:
            streams.newest = stream
            streams.ids.add(stream)

    def _follow(self, data: bytes, at: int, changed: dict[int, int]) -> int:
        """Return how far the messages in the open frame were followed."""
        messages, begun = self._messages, at
        is_whole = len(data) - at >= self._rest
        end = at + self._rest if is_whole else len(data)
        while at < end:
            if messages.left:
                step = min(messages.left, end - at)
                messages.left -= step
                at += step
            elif is_whole or end - at >= _MESSAGE.size - len(messages.head):
                at = self._read_head(data, at, end, changed)
            else:
                break
        self._rest -= at - begun
        return at if self._rest else self._end(at)

    def _read_head(self, data: bytes, at: int, end: int, changed: dict[int, int]) -> int:
        """Return where the head of a message ends, or the part of it that is in this frame."""
        messages = self._messages
        before = len(messages.head)
        head = messages.head + data[at : min(end, at + _MESSAGE.size - before)]
        after = at + len(head) - before
        if len(head) < _MESSAGE.size:
            messages.head = head
            if not before and head[0] != _PLAIN:
                self._refuse(at, changed)
            return after
        flag, length = _MESSAGE.unpack(head)
        messages.left, messages.head = length, b""
        if before:
            # Its flag has gone on: any but this one was refused then.
            if flag == _PLAIN and length > self._plain_max:
                raise SieveError("a message is far too long")
        elif length > self._plain_max:
            self._refuse(at, changed)
        elif flag == _COMPRESSED and length > self._compressed_max:
            changed[at] = _PLAIN
        return after

    def _refuse(self, at: int, changed: dict[int, int]) -> None:
        self._refused()
        changed[at] = _NONSENSE

    def _end(self, at: int) -> int:
        """Return where the frame ends, after its padding."""
        if not self._is_last and (self._messages.left or self._messages.head):
            self._open[self._stream] = self._messages
            if len(self._open) > self._streams_max:
                raise SieveError("too many streams are in the middle of a message")
        return at + self._padding


def _with_flags(data: bytes, changed: dict[int, int]) -> bytearray:
    passed = bytearray(data)
    for at, flag in changed.items():
        passed[at] = flag
    return passed
