"""Holds read one by one, off the hash that `admit.lua` keeps them in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ratelimit.draw import Draw
from ratelimit.errors import StoreError, StoreTimeout
from ratelimit.store import HoldsPage, Outstanding
from ratelimit.stores.redis_beside import beside
from ratelimit.stores.redis_errors import error_of
from serving.redis_link import Reply
from serving.redis_node import Command


def write(slot: int, draw: Draw, cursor: str, most: int) -> Sequence[Command]:
    """Return what asks for a page: the time by the server's clock, and about `most` names."""
    scan = ("HSCAN", f"{beside(draw)}:h3", cursor or "0", "COUNT", most)
    return [Command(("TIME",), slot), Command(scan, slot)]


def read(commands: Sequence[Command], now_ms: int) -> HoldsPage | StoreError:
    """Return the page that was answered; `now_ms` stands for the server's clock, 0 is that."""
    time, scanned = commands
    for command in commands:
        error = error_of(command.reply)
        if error is not None:
            return error
    try:
        return _page(scanned.reply, now_ms or _milliseconds(time.reply))
    except (TypeError, ValueError):
        return StoreTimeout("Redis gave an answer that makes no sense")


def _milliseconds(reply: Reply) -> int:
    if not isinstance(reply, list):
        raise TypeError
    seconds, micros = reply
    return int(seconds) * 1000 + int(micros) // 1000


def _page(reply: Reply, now_ms: int) -> HoldsPage:
    if not isinstance(reply, list):
        raise TypeError
    cursor, fields = reply
    holds = [hold for hold in _holds(fields) if hold.due_ms > now_ms]
    return HoldsPage(holds, "" if cursor == b"0" else cursor.decode())


def _holds(fields: Sequence[bytes]) -> Iterator[Outstanding]:
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        # A hold is "amount:start:due", equal ones "amount:start:due:times"; all else in the hash has no colon.
        if name[:1] in {b"a", b"i"} and b":" in value:
            amount, _, due_ms, *times = value.split(b":")
            hold = Outstanding(name[1:].decode() if name[:1] == b"i" else "", int(amount), int(due_ms))
            yield from [hold] * int(times[0] if times else 1)
