"""Which entries the store may have, known in the service's own process: a prompt that is new is no question to the engine.

    engine ── ids, page by page ────────▶ Known ── may have it ───▶ the engine is asked
    writes ── their ids, before they go ──▶ │ ──── cannot have it ──▶ nobody is asked

1. It errs to one side only: it never says of an entry that is there that it is not. So it is told of an entry before the
   engine is, is never told of one that goes, and rules nothing out before every id was read.
2. That holds because nobody else writes to the folder. What an engine that is started again makes of its log is read
   anew: all that was known is forgotten.
3. Ids are read in their order. One that is there all the time is read wherever in that the next generation takes over,
   which has the same entries then; one that comes meanwhile is told.
4. A Bloom filter of 32 to 64 bits for each entry when it was read. It is made anew when as many were told of as were
   read: what went is forgotten in time, and reading costs each write the same, however many there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from semcache.entry import EntryId

ReadPage: TypeAlias = Callable[[EntryId | None], Awaitable[tuple[Sequence[EntryId], EntryId | None]]]
"""Ids from one on, and where to go on."""

_BYTES_EACH = 8
_PROBES = 4
# Fewer are not worth reading again; a filter of so many has 128 kB.
_FEW = 16_384


class Bloom:
    """A set of texts that may say of one that it is there where it is not: of 1 in 400 at 16 bits for each, 1 in 5,000 at 32."""

    def __init__(self, count: int, bytes_max: int) -> None:
        """Make room for so many, and as many again, in no more than `bytes_max`."""
        size = max(1, min(count * _BYTES_EACH, bytes_max))
        # The power of two that is not above it.
        self._bits = bytearray(1 << (size.bit_length() - 1))
        self._last = len(self._bits) * 8 - 1

    def __len__(self) -> int:
        """Return its size in bytes."""
        return len(self._bits)

    def add(self, text: str) -> None:
        """Put a text into it."""
        place, step = _places(text)
        for _ in range(_PROBES):
            place = (place + step) & self._last
            self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, text: str) -> bool:
        """Return False if the text was never put into it."""
        place, step = _places(text)
        for _ in range(_PROBES):
            place = (place + step) & self._last
            if not self._bits[place >> 3] & 1 << (place & 7):
                return False
        return True


class Known:
    """What is known of one store's ids."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._ids: Bloom | None = None
        self._reading: Bloom | None = None
        self._read = 0
        self._told = 0

    def may_have(self, one: EntryId) -> bool:
        """Return False if the entry is certainly not there."""
        return self._ids is None or one in self._ids

    def tell(self, ids: Iterable[EntryId]) -> None:
        """Take what may be there from now on."""
        filters = [each for each in (self._ids, self._reading) if each is not None]
        for one in ids if filters else ():
            self._told += 1
            for each in filters:
                each.add(one)

    def forget(self) -> None:
        """Rule nothing out any more, until the ids were read again."""
        self._ids = self._reading = None

    @property
    def is_due(self) -> bool:
        """Whether the ids are to be read."""
        return (
            self._bytes_max > 0 and self._reading is None and (self._ids is None or self._told > max(self._read, _FEW))
        )

    async def read(self, count: int, read_page: ReadPage) -> None:
        """Read all ids, of which there are about so many; what is known serves meanwhile."""
        reading = self._reading = Bloom(max(count, _FEW), self._bytes_max)
        read, self._told, start = 0, 0, None
        try:
            while self._reading is reading:
                ids, start = await read_page(start)
                for one in ids:
                    reading.add(one)
                read += len(ids)
                if start is None and self._reading is reading:
                    self._ids, self._read = reading, read
                    return
        finally:
            if self._reading is reading:
                self._reading = None


def _places(text: str) -> tuple[int, int]:
    """Return where to begin and how far to go: both halves of Python's own hash, which is another one in each process."""
    value = hash(text)
    return value & 0xFFFFFFFF, (value >> 32 & 0xFFFFFFFF) | 1
