"""A RateLimitRequest taken apart by hand: what all requests of one kind have in common, and their values.

    0a … domain │ 12 … descriptor: 0a … entry: 0a … key 12 … ▓▓ │ … │ 18 hits        ▓▓ is a value

1. A message is read as protobuf would read it, or not at all: such as gateways write, whose descriptors have entries of
   a key and a value, and nothing else. Fields are walked by their lengths.
2. What is written in another way, or has more in it, is left to protobuf. So are texts of more than 127 bytes and what
   is no UTF-8, whose errors protobuf words.
"""

from __future__ import annotations

from typing import TypeAlias

Skeleton: TypeAlias = tuple[bytes | None, ...]
"""The domain, then for each descriptor None and its keys."""

_DOMAIN, _DESCRIPTOR, _HITS = 0x0A, 0x12, 0x18
_ENTRY = _KEY = 0x0A
_VALUE = 0x12

# What is longer takes more than one byte to say its length.
_SHORT_MAX = 127


def take_apart(message: bytes) -> tuple[Skeleton, list[str], int] | None:
    """Return the skeleton, the values and where the message ends but for its hits; None: it is not of that kind."""
    try:
        return _walk(message, len(message))
    except (IndexError, UnicodeDecodeError):
        return None


# One loop in one function: it runs for every call with a new key, and a function for each entry costs as much as the rest.
def _walk(message: bytes, end: int) -> tuple[Skeleton, list[str], int] | None:
    size = message[1]
    at = 2 + size
    if message[0] != _DOMAIN or not 0 < size <= _SHORT_MAX:
        return None
    skeleton: list[bytes | None] = [message[2:at]]
    values: list[str] = []
    while at < end:
        if message[at] != _DESCRIPTOR:
            break
        stop, at = _stop(message, at + 1)
        skeleton.append(None)
        while at < stop:
            middle = at + 4 + message[at + 3]
            close = middle + 2 + message[middle + 1]
            size = close - at - 2
            if message[at] != _ENTRY or message[at + 1] != size or size > _SHORT_MAX:
                return None
            if message[at + 2] != _KEY or message[middle] != _VALUE:
                return None
            skeleton.append(message[at + 4 : middle])
            values.append(message[middle + 2 : close].decode())
            at = close
        if at != stop:
            return None
    if at > end or (at < end and message[at] != _HITS):
        return None
    return tuple(skeleton), values, at


def _stop(message: bytes, at: int) -> tuple[int, int]:
    """Read the length of a descriptor, of one byte or two; return where it ends and where it begins."""
    size = message[at]
    if size <= _SHORT_MAX:
        return at + 1 + size, at + 1
    high = message[at + 1]
    # Of more bytes than two, or of more than are needed: read to an end that does not fit.
    if not 0 < high <= _SHORT_MAX:
        return -1, at
    return at + 2 + (size & _SHORT_MAX | high << 7), at + 2


def read_keys(skeleton: Skeleton) -> tuple[str, list[list[str]]]:
    """Return the domain, and the keys of each descriptor."""
    domain, *rest = skeleton
    keys: list[list[str]] = []
    for key in rest:
        if key is None:
            keys.append([])
        else:
            keys[-1].append(key.decode())
    return (domain or b"").decode(), keys
