"""Between the messages of `weir.ratelimit.v1` and our own values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.descriptor import Descriptor
from ratelimit.draw import HITS_MAX, ID_CHARACTERS_MAX, Op, Standing
from ratelimit.plan import Counting, Step
from ratelimit.verdict import Status, Verdict
from serving.refusal import Refused

KINDS_MAX = 32


def read_descriptors(
    descriptors: Sequence[wire.Descriptor], amount: wire.Amount | None, *, default: int
) -> tuple[Descriptor, ...]:
    """Return descriptors with what each spends; `default` is what nothing at all means.

    Raises:
        Refused: one has no entries, an entry no key, or an amount too many kinds.
    """
    return tuple(_descriptor(each, amount, default, f"descriptors[{i}]") for i, each in enumerate(descriptors))


def _descriptor(descriptor: wire.Descriptor, amount: wire.Amount | None, default: int, name: str) -> Descriptor:
    entries = tuple((entry.key, entry.value) for entry in descriptor.entries)
    if not entries:
        raise Refused.field(f"{name}.entries", "are missing")
    if not all(key for key, _ in entries):
        raise Refused.field(f"{name}.entries", "one has no key")
    own = descriptor.amount if descriptor.HasField("amount") else amount
    if own is None:
        return Descriptor(entries, default)
    hits, kinds = read_amount(own)
    return Descriptor(entries, hits, kinds=kinds)


def read_amount(amount: wire.Amount) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Return hits of no kind, and those of each.

    Raises:
        Refused: it has too many kinds.
    """
    if len(amount.kinds) > KINDS_MAX:
        raise Refused.field("amount.kinds", f"{len(amount.kinds)} of them, at most {KINDS_MAX} are taken")
    return min(amount.hits, HITS_MAX), tuple((kind, amount.kinds[kind]) for kind in sorted(amount.kinds))


def read_id(request_id: str) -> str:
    """Return an id that a caller gave.

    Raises:
        Refused: it is too long.
    """
    if len(request_id) > ID_CHARACTERS_MAX:
        raise Refused.field("request_id", f"{len(request_id)} characters, at most {ID_CHARACTERS_MAX} are taken")
    return request_id


def read_milliseconds(name: str, duration: Duration) -> int:
    """Return a duration, rounded up.

    Raises:
        Refused: it is negative.
    """
    milliseconds = duration.seconds * 1000 + math.ceil(duration.nanos / 1e6)
    if milliseconds < 0:
        raise Refused.field(name, "is negative")
    return min(milliseconds, HITS_MAX // 64)


def write_verdict(steps: Sequence[Step], verdict: Verdict) -> wire.Verdict:
    """Return the answer of the rules, as all methods give it."""
    written = wire.Verdict(code=wire.CODE_OVER_LIMIT if verdict.is_over else wire.CODE_OK)
    standings = iter(verdict.standings)
    for step, status in zip(steps, verdict.statuses, strict=True):
        _status(written.statuses.add(), step, status, [next(standings) for _ in step.countings])
    waits = [status.reset_seconds for status in verdict.statuses if status.is_over]
    if waits and verdict.is_over:
        written.retry_after.seconds = max(waits)
    return written


def _status(written: wire.DescriptorStatus, step: Step, status: Status, standings: Sequence[Standing]) -> None:
    written.over_limit = status.is_over
    if step.rule is None:
        return
    written.rule = step.rule.path
    for counting, standing in zip(step.countings, standings, strict=True):
        write_counter(written.counters.add(), counting, standing)


def write_counter(written: wire.Counter, counting: Counting, standing: Standing) -> None:
    """Write how one limit stands."""
    limit, capacity = counting.limit, counting.terms.capacity
    written.limit = capacity
    written.window = limit.span
    written.algorithm = limit.algorithm.value
    written.spent, written.held = standing.after, standing.held
    written.remaining = max(0, capacity - standing.after - standing.held)
    written.reset.FromMilliseconds(standing.reset_ms)
    written.over_limit = standing.is_over
    written.ceiling = limit.ceiling
    if limit.written is not None:
        written.own_limit = limit.written.capacity


def granted(verdict: Verdict) -> int:
    """Return the least that a reservation was given on any of its counters."""
    return min((min(draw.hits, draw.terms.hold_max) for draw in verdict.draws), default=0)


def hold_times_ms(verdict: Verdict) -> tuple[int, int]:
    """Return the lives of the shortest and of the longest hold of a reservation; 0 where there is none."""
    lives = [draw.hold_ms for draw in verdict.draws if draw.op is Op.RESERVE]
    return (min(lives), max(lives)) if lives else (0, 0)
