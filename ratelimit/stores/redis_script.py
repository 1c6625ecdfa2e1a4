"""Ledgers as calls of `charge.lua`, and its answers as outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha1
from pathlib import Path

from ratelimit.errors import StoreRefused, StoreTimeout
from ratelimit.store import COUNT_MAX, Charge, Count, Ledger, Outcome, Policy
from ratelimit.stores.redis_errors import error_of
from ratelimit.stores.shares import Share
from serving.redis_link import Reply
from serving.redis_node import Command, Script

_BODY = (Path(__file__).parent.parent / "redis_scripts" / "charge.lua").read_text(encoding="utf-8")
CHARGE = Script(sha1(_BODY.encode(), usedforsecurity=False).hexdigest(), _BODY)

# A script keeps the server to itself while it runs, and a counter costs it about a microsecond.
_CHARGES_PER_LEDGER = 4


class ScriptCalls:
    """Puts as many ledgers into one call as may be."""

    def __init__(self, ledgers_max: int) -> None:
        self.ledgers_max = ledgers_max

    def write(self, slot: int, shares: Sequence[Share], channel: str) -> list[tuple[Command, Sequence[Share]]]:
        """Return the calls that apply these shares, and which answers which."""
        return [(_call(slot, chunk, channel), chunk) for chunk in self._chunks(shares)]

    def _chunks(self, shares: Sequence[Share]) -> Iterator[Sequence[Share]]:
        start, charges = 0, 0
        for position, share in enumerate(shares):
            charges += len(share.ledger.charges)
            is_full = position - start >= self.ledgers_max or charges > _CHARGES_PER_LEDGER * self.ledgers_max
            if is_full and position > start:
                yield shares[start:position]
                start, charges = position, len(share.ledger.charges)
        yield shares[start:]


def read(command: Command, shares: Sequence[Share]) -> None:
    """Put the answer to a call into its shares."""
    error = error_of(command.reply)
    try:
        if error is None:
            answers = iter(_listed(command.reply))
            for share in shares:
                share.outcome = _read_one(answers, share.ledger)
    except (TypeError, StopIteration):
        error = StoreTimeout("Redis gave an answer that makes no sense")
    if error is not None:
        for share in shares:
            share.outcome = error


# Hot, so the ledger under BURN is written out: two appends a charge are what it costs.
def _call(slot: int, shares: Sequence[Share], channel: str) -> Command:
    keys: list[str] = []
    numbers: list[str | int] = [channel]
    for share in shares:
        charges = share.ledger.charges
        is_stop = share.ledger.policy is Policy.STOP
        numbers.append(-len(charges) if is_stop else len(charges))
        for charge in charges:
            keys.append(charge.key)
            numbers.append(charge.hits)
            numbers.append(0 if charge.is_refund else charge.ttl_seconds)
            if is_stop:
                numbers.append(charge.limit)
    return Command(("EVALSHA", CHARGE.digest, len(keys), *keys, *numbers), slot, CHARGE)


def _listed(reply: Reply) -> Sequence[Reply]:
    if not isinstance(reply, list):
        raise TypeError
    return reply


def _read_one(answers: Iterator[Reply], ledger: Ledger) -> Outcome:
    is_stop = ledger.policy is Policy.STOP
    counts: list[Count] = []
    for charge in ledger.charges:
        before = next(answers)
        if type(before) is bytes:
            return StoreRefused(before.decode(errors="replace"))
        after = next(answers) if is_stop else _after(before, charge)
        if not (type(before) is type(after) is int):
            raise TypeError
        counts.append((before, after))
    return counts


def _after(before: int, charge: Charge) -> int:
    """Return what the script left, as it reckons itself."""
    if charge.is_refund:
        return before - max(0, min(before, charge.hits))
    return min(COUNT_MAX, before + charge.hits)
