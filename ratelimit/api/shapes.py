"""What of a request's bytes stays the same from call to call, and what varies: hits, and the request id.

    0a … domain │ 12 … descriptor: 0a … entry │ 0a … _request_id 12 ▓▓ │ 1a ▓▓ │ 18 ▓▓        ▓▓ is cut out

1. Fields are walked by their lengths: bytes that look like a field inside a value are never cut.
2. Tags before a cut, the lengths around it and the order of fields stay, so where it was can be told from the shape:
   two messages of one shape differ in what was cut and in nothing else. A shape with a cut begins with a byte that
   no message begins with.
3. What is written in another way than protobuf's own (fields out of order, unknown ones, long varints) has no shape:
   where it may hold hits or an id, such a message is planned each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_DOMAIN, _DESCRIPTOR, _HITS = 0x0A, 0x12, 0x18
_ENTRY, _LIMIT, _OWN_HITS, _IS_REFUND = 0x0A, 0x12, 0x1A, 0x20
_CUT = b"\xff"

# hits_addend is a uint32, a descriptor's own a uint64; both are cut to their size by protobuf, so longer ones are left.
_HITS_MAX, _OWN_HITS_MAX = 2**32 - 1, 2**64 - 1


@dataclass(slots=True)
class Shape:
    """A message taken apart."""

    key: bytes
    """What stays the same; the message itself where nothing was cut."""
    hits: int | None = None
    """`hits_addend`; None: not given."""
    own_hits: Sequence[int | None] = ()
    """Of each descriptor; empty where none has its own."""
    request_id: str = ""


class NoShapeError(Exception):
    """This message is not written as protobuf's own writers write it."""


@dataclass(slots=True)
class _Cutter:
    message: bytes
    id_prefix: bytes
    """Of an entry that carries a request id, up to the length of its value; empty: the message has none."""
    parts: list[bytes] = field(default_factory=list)
    kept: int = 0
    """Up to here the message is in `parts`, or cut."""
    hits: int | None = None
    own_hits: list[int | None] = field(default_factory=list)
    ids: set[bytes] = field(default_factory=set)

    def walk(self) -> None:
        """Take the message apart."""
        message, at, end = self.message, 0, len(self.message)
        while at < end:
            tag = message[at]
            number, start = varint(message, at + 1, end)
            if tag == _HITS and start == end and number <= _HITS_MAX:
                self.hits = number or None
                self._cut(at + 1, end)
                return
            at = start + number
            if tag == _DESCRIPTOR:
                self.own_hits.append(None)
                self._walk_descriptor(start, at)
            elif tag != _DOMAIN:
                raise NoShapeError
        if at != end:
            raise NoShapeError

    def _walk_descriptor(self, at: int, end: int) -> None:
        message, before = self.message, 0
        if end > len(message):
            raise NoShapeError
        while at < end:
            tag = message[at]
            if tag < before:
                raise NoShapeError
            before = tag
            number, start = varint(message, at + 1, end)
            if tag == _IS_REFUND:
                at = start
                continue
            at = start + number
            if at > end:
                raise NoShapeError
            if tag == _ENTRY:
                if self.id_prefix:
                    self._walk_entry(start, at)
            elif tag == _OWN_HITS:
                self._take_own_hits(start, at)
            elif tag != _LIMIT:
                raise NoShapeError

    def _walk_entry(self, start: int, end: int) -> None:
        prefix = self.id_prefix
        if not self.message.startswith(prefix, start):
            if self.message.find(prefix[2:-1], start, end) >= 0:  # perhaps the same, written in another order
                raise NoShapeError
            return
        at = start + len(prefix)
        length, value = varint(self.message, at, end)
        if value + length != end:
            raise NoShapeError
        self.ids.add(self.message[value:end])
        self._cut(at, end)

    def _take_own_hits(self, start: int, end: int) -> None:
        number = 0
        if start < end:
            number, after = varint(self.message, start + 1, end)
            if self.message[start] != 0x08 or after != end or number > _OWN_HITS_MAX:
                raise NoShapeError
        if self.own_hits[-1] is not None:
            raise NoShapeError
        self.own_hits[-1] = number
        # From its length on: the tag stays.
        self._cut(start - 1, end)

    def _cut(self, start: int, end: int) -> None:
        self.parts.append(self.message[self.kept : start])
        self.kept = end


def shape_of(message: bytes, request_id_entry: str = "") -> Shape | None:
    """Take a RateLimitRequest apart; None: it has no shape."""
    key = request_id_entry.encode()
    has_id = bool(key) and key in message
    # Most messages cannot have a cut, which is told without a walk.
    if not has_id and _OWN_HITS not in message and _HITS not in message:
        return Shape(message)
    if has_id and len(key) > 127:
        return None
    cutter = _Cutter(message, b"\x0a%c%b\x12" % (len(key), key) if has_id else b"")
    try:
        cutter.walk()
        request_id = _only(cutter.ids)
    except (NoShapeError, UnicodeDecodeError):
        return None
    own_hits = cutter.own_hits if any(hits is not None for hits in cutter.own_hits) else ()
    if not cutter.parts:
        return Shape(message)
    cutter.parts.append(message[cutter.kept :])
    return Shape(_CUT + b"".join(cutter.parts), cutter.hits, own_hits, request_id)


def shape_with_hits(message: bytes, at: int) -> Shape | None:
    """Take apart a message that has nothing to be cut but hits, which begin at `at`; None: they are written oddly."""
    try:
        hits, end = varint(message, at + 1, len(message))
    except NoShapeError:
        return None
    if end != len(message) or hits > _HITS_MAX:
        return None
    return Shape(_CUT + message[: at + 1], hits or None)


def varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """Read a number; return it and where it ends.

    Raises:
        NoShapeError: it does not end before `end`, or is longer than it must be.
    """
    number = shift = 0
    while at < end:
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            if shift and not byte:
                break
            return number, at
        shift += 7
    raise NoShapeError


def _only(ids: set[bytes]) -> str:
    if len(ids) > 1:
        raise NoShapeError
    return ids.pop().decode() if ids else ""
