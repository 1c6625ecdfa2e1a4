"""Ledgers as plain commands, for servers that refuse scripts: INCRBY and EXPIRE, as the reference does.

What is lost without scripts: a ledger is not all or nothing when one of its counters fails; the life
of a counter is renewed by every charge (its window is in its key, so this ends nothing later); a
refund takes what a look just before allows (`Forecast`), so that two at the same moment may bring a
counter below 0, which counts as room; and refunds are not told to other replicas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ratelimit.errors import StoreError
from ratelimit.store import COUNT_MAX, Charge, Count, Outcome
from ratelimit.stores.redis_errors import error_of
from ratelimit.stores.shares import Share
from serving.redis_link import Reply, ReplyError
from serving.redis_node import Command


def write(slot: int, share: Share) -> list[Command]:
    """Return the commands of a share. The hits of a refund are what may be taken."""
    commands: list[Command] = []
    for charge in share.ledger.charges:
        if not charge.is_refund:
            commands.append(Command(("INCRBY", charge.key, charge.hits), slot))
            commands.append(Command(("EXPIRE", charge.key, charge.ttl_seconds), slot))
        elif charge.hits:
            commands.append(Command(("DECRBY", charge.key, charge.hits), slot))
        else:
            commands.append(Command(("GET", charge.key), slot))
    return commands


def read(replies: Iterator[Reply], share: Share) -> None:
    """Put the replies to these commands into their share."""
    counts: list[Count | StoreError] = [_read_one(replies, charge) for charge in share.ledger.charges]
    errors = [count for count in counts if isinstance(count, StoreError)]
    share.outcome = errors[0] if errors else _counted(counts)


def _read_one(replies: Iterator[Reply], charge: Charge) -> Count | StoreError:
    reply = next(replies)
    if not charge.is_refund:
        next(replies)  # of EXPIRE: a counter that lives too long is only memory
    if isinstance(reply, ReplyError) and "overflow" in str(reply):
        return (COUNT_MAX, COUNT_MAX)
    error = error_of(reply)
    if error is not None:
        return error
    after = int(reply or 0)
    before = after + charge.hits if charge.is_refund else after - charge.hits
    return (min(before, COUNT_MAX), min(after, COUNT_MAX))


def _counted(counts: Sequence[Count | StoreError]) -> Outcome:
    return [count for count in counts if not isinstance(count, StoreError)]
