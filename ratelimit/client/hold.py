"""Tokens that are set aside while the work is done.

    async with limits.reserve(...) as hold ──▶ work ──┬── hold.settle(actual) ──▶ that is spent at the end of the block
                                                      ├── hold.release() ───────▶ nothing is spent
                                                      ├── an exception ─────────▶ nothing is spent
                                                      └── none of these ────────▶ the estimate is spent

A caller that dies inside the block spends nothing: the service gives the hold back at its deadline.
"""

from __future__ import annotations

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.client.values import Answer, write_amount


class Hold:
    """A reservation."""

    def __init__(self, answer: Answer, reservation_id: str = "", granted: int = 0, deadline: float = 0.0) -> None:
        self.answer = answer
        """How the limits stand; `answer.is_answered` is False where nobody answered and the client fails open."""
        self.reservation_id = reservation_id
        """Empty: nothing is held, and settling does nothing."""
        self.granted = granted
        """What is held; less than asked where a rule cut it."""
        self.deadline = deadline
        """Unix time at which it is given back; 0: never, since nothing is held."""
        self._actual: wire.Amount | None = None
        self._is_released = False

    def settle(self, tokens: int | None = None, **kinds: int) -> None:
        """Say what was used, in all or by kind: `settle(812)`, `settle(input=700, output=112)`. The last word counts."""
        self._actual = write_amount(tokens, kinds) or wire.Amount()
        self._is_released = False

    def release(self) -> None:
        """Say that nothing was used."""
        self._is_released = True

    def end(self, estimate: wire.Amount | None, *, is_failed: bool) -> wire.SettleRequest | wire.ReleaseRequest:
        """Return what the service is told at the end of the block."""
        if self._is_released or (is_failed and self._actual is None):
            return wire.ReleaseRequest(reservation_id=self.reservation_id)
        actual = self._actual or estimate or wire.Amount(hits=self.granted)
        return wire.SettleRequest(reservation_id=self.reservation_id, amount=actual)


def held(response: wire.ReserveResponse, answer: Answer) -> Hold:
    """Return the hold of an answer."""
    deadline = response.deadline.ToMilliseconds() / 1000 if response.HasField("deadline") else 0.0
    return Hold(answer, response.reservation_id, response.granted, deadline)
