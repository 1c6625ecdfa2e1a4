"""The part of AdminService that lists holds, counter by counter and page by page."""

from __future__ import annotations

from protos.ratelimit.v1 import admin_pb2 as wire
from ratelimit.api.desk import Desk
from ratelimit.api.limiter_messages import read_descriptors
from ratelimit.draw import Op
from ratelimit.drawing import Wish
from ratelimit.limiter import Ask
from ratelimit.plan import Counting
from ratelimit.rules import Show
from ratelimit.store import Outstanding
from serving.calls import Failure
from serving.refusal import Refused

PAGE = 100
PAGE_MAX = 1_000
# Of Redis: 64 bits.
CURSOR_MAX = 2**64 - 1


class AdminHolds:
    """The method ListHolds."""

    def __init__(self, desk: Desk, show: Show) -> None:
        self._desk = desk
        self._show = show

    async def list(self, request: wire.ListHoldsRequest, deadline: float) -> wire.ListHoldsResponse:
        """Answer ListHolds: a page is of one counter, and a token names the counter and where it goes on."""
        position, cursor = _read_token(request.page_token)
        plan = self._desk.plan(request.domain, read_descriptors([request.descriptor], None, default=0))
        # A look tells what the counters are called at this moment.
        (verdict,) = await self._desk.decide([Ask(plan, 1, deadline, wish=Wish(Op.CHARGE, is_look=True))], "Admin")
        if isinstance(verdict, Failure):
            raise Refused(verdict)
        countings = plan.steps[0].countings
        response = wire.ListHoldsResponse()
        if position >= len(countings):
            return response
        most = min(request.page_size or PAGE, PAGE_MAX)
        page = await self._desk.holds(verdict.draws[position], cursor=cursor, most=most, deadline=deadline)
        response.holds.extend(self._hold(each, countings[position]) for each in page.holds)
        if page.cursor or position + 1 < len(countings):
            response.next_page_token = f"{position}.{page.cursor}" if page.cursor else f"{position + 1}."
        return response

    def _hold(self, hold: Outstanding, counting: Counting) -> wire.Hold:
        written = wire.Hold(
            id=self._show(hold.id) if hold.id else "",
            amount=hold.amount,
            window=counting.limit.span,
            algorithm=counting.limit.algorithm.value,
        )
        written.due.FromMilliseconds(hold.due_ms)
        return written


def _read_token(token: str) -> tuple[int, str]:
    if not token:
        return 0, ""
    position, _, cursor = token.partition(".")
    numbers = [position, *cursor.split(":")] if cursor else [position]
    if len(numbers) > 3 or not all(number.isdecimal() and int(number) <= CURSOR_MAX for number in numbers):
        raise Refused.field("page_token", "is none that a page before gave")
    return int(position), cursor
