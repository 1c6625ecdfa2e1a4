"""What callers of the client give and get, in plain values.

LimiterError
├── OverLimit       a limit has no room, or nobody answers and the client fails closed; ask again later
├── LimiterRefused  bad input, or a right that is missing; asking again does not help
└── LimiterAway     nobody answers, and the client was told to raise then
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.duration_pb2 import Duration

from protos.ratelimit.v1 import limiter_pb2 as wire

AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
# Its own trouble, and not the caller's fault; but it is no use to repeat it at once.
BROKEN = {
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class LimitState:
    """How one limit stands."""

    rule: str
    """Path of its rule."""
    limit: int
    window: str
    spent: int
    held: int
    """By reservations of anybody."""
    remaining: int
    reset_seconds: float
    is_over: bool
    """It is this one that refuses."""
    algorithm: str = "fixed_window"


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it may be, or was done."""

    is_allowed: bool
    limits: tuple[LimitState, ...] = ()
    retry_after_seconds: float = 0.0
    """When it may be worth asking again; 0: nothing is over."""
    is_answered: bool = True
    """False: nobody answered, and `is_allowed` is what the client was told to do then."""

    @property
    def remaining(self) -> int | None:
        """Return what the tightest limit has left; None where nothing is limited."""
        return min((limit.remaining for limit in self.limits), default=None)


class LimiterError(Exception):
    """Anything that keeps a call from being done."""


class OverLimit(LimiterError):  # noqa: N818 - the field's word
    """There is no room."""

    def __init__(self, answer: Answer) -> None:
        rules = ", ".join(sorted({limit.rule for limit in answer.limits if limit.is_over}))
        wait = f"; ask again in {answer.retry_after_seconds:g} s" if answer.retry_after_seconds else ""
        super().__init__(f"over the limit{f' of {rules}' if rules else ''}{wait}")
        self.answer = answer


class LimiterRefused(LimiterError):  # noqa: N818 - what it is to its caller
    """The service refused the call."""


class LimiterAway(LimiterError):  # noqa: N818 - as above
    """The service did not answer."""


def write_descriptors(
    descriptors: Sequence[Mapping[str, str]] | None, entries: Mapping[str, str]
) -> list[wire.Descriptor]:
    """Return descriptors: those given, or the one of these entries.

    Raises:
        LimiterRefused: both are given, or none.
    """
    if (descriptors is None) == (not entries):
        raise LimiterRefused("name the descriptor by keywords such as tenant='acme', or several by descriptors=[…]")
    return [
        wire.Descriptor(entries=[wire.Entry(key=key, value=value) for key, value in each.items()])
        for each in descriptors or [entries]
    ]


def write_amount(tokens: int | None, kinds: Mapping[str, int] | None) -> wire.Amount | None:
    """Return an amount; None where nothing is said."""
    if tokens is None and not kinds:
        return None
    return wire.Amount(hits=tokens or 0, kinds=dict(kinds or {}))


def read_answer(verdict: wire.Verdict) -> Answer:
    """Return the answer of the rules."""
    limits = tuple(
        LimitState(
            status.rule,
            counter.limit,
            counter.window,
            counter.spent,
            counter.held,
            counter.remaining,
            seconds(counter.reset),
            counter.over_limit,
            counter.algorithm,
        )
        for status in verdict.statuses
        for counter in status.counters
    )
    return Answer(verdict.code == wire.CODE_OK, limits, seconds(verdict.retry_after))


def seconds(duration: Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9
