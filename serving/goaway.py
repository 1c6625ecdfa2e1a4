"""HTTP/2's word for "open no further stream", and where it may be said.

A piece of bytes that reads as whole frames to its end ends between two frames. It may be said there and nowhere else, and
not between headers and what goes on with them.
"""

from __future__ import annotations

_HEADER_BYTES = 9
_HEADERS, _GOAWAY, _CONTINUATION = 1, 7, 9
_END_HEADERS = 4
# No stream is above the last one, and no error.
GOAWAY = bytes((0, 0, 8, _GOAWAY, 0, 0, 0, 0, 0)) + (2**31 - 1).to_bytes(4, "big") + bytes(4)


def ends_between_frames(data: bytes) -> bool:
    """Return whether bytes read as whole HTTP/2 frames, and another frame may follow."""
    at = 0
    is_open = False
    while at + _HEADER_BYTES <= len(data):
        kind, flags = data[at + 3], data[at + 4]
        if kind > _CONTINUATION or data[at + 5] & 0x80:
            return False
        if kind in (_HEADERS, _CONTINUATION):
            is_open = not flags & _END_HEADERS
        at += _HEADER_BYTES + int.from_bytes(data[at : at + 3], "big")
    return at == len(data) and not is_open
