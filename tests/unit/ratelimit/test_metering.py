from __future__ import annotations

from ratelimit.accounting import StatsTable
from ratelimit.descriptor import Descriptor, Request
from ratelimit.metering import Metering
from ratelimit.plan import Plan, Planner
from tests.fakes.rules import limit, rule_set, unlimited

WAIT = 600.0
RULES = rule_set("d", limit("user"), unlimited("free"))


def plan(user: str = "a", *, key: str = "user", hits: int | None = None, is_refund: bool = False) -> Plan:
    return Planner().plan(Request("d", (Descriptor(((key, user),), hits, is_refund=is_refund),)), RULES)


class Bench:
    """Metering, and what it counted for the one rule."""

    def __init__(self, *, wait: float = WAIT, counters_max: int = 10) -> None:
        self.stats = StatsTable(series_max=10, domains_max=1, ttl_seconds=60)
        self.metering = Metering(self.stats, wait_seconds=wait, counters_max=counters_max)
        self.now = 0.0

    def check(self, user: str = "a", *, key: str = "user", is_over: bool = False) -> None:
        self.metering.note(plan(user, key=key, hits=0), 1, self.now, is_over=is_over)

    def charge(self, hits: int | None, user: str = "a", *, is_refund: bool = False) -> None:
        self.metering.note(plan(user, hits=hits, is_refund=is_refund), 1, self.now, is_over=False)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.metering.turn(self.now)

    @property
    def counted(self) -> tuple[int, int]:
        stats = self.stats["d.user"]
        return stats.checks_without_charge, stats.charges_of_one


def test_a_check_that_is_charged_is_in_order() -> None:
    bench = Bench()
    bench.check()
    bench.charge(500)

    bench.advance(WAIT)
    bench.advance(WAIT)

    assert bench.counted == (0, 0)


def test_a_check_without_a_charge_is_counted_when_its_time_is_over() -> None:
    bench = Bench()
    bench.check()
    bench.check()

    bench.advance(WAIT)
    early = bench.counted
    bench.advance(WAIT)

    assert (early, bench.counted) == ((0, 0), (2, 0))


def test_a_check_that_goes_on_being_charged_late_is_not_counted() -> None:
    bench = Bench()
    bench.check()
    bench.advance(WAIT)
    bench.check()
    bench.charge(500)

    bench.advance(WAIT)
    bench.charge(500)
    bench.advance(WAIT)

    assert bench.counted == (0, 0)


def test_a_lost_charge_is_seen_among_many_that_come() -> None:
    bench = Bench()
    for _ in range(5):
        bench.check()
        bench.check()
        bench.charge(500)
        bench.advance(WAIT / 2)

    bench.advance(WAIT)
    bench.advance(WAIT)

    assert bench.counted == (5, 0)


def test_a_denied_check_owes_nothing() -> None:
    bench = Bench()
    bench.check(is_over=True)

    assert len(bench.metering) == 0


def test_a_charge_of_one_where_tokens_were_expected_is_counted() -> None:
    bench = Bench()
    bench.check()
    bench.charge(None)
    bench.charge(1)
    bench.charge(2)

    assert bench.counted == (0, 2)


def test_a_request_that_counts_as_one_is_in_order_where_nothing_is_checked() -> None:
    bench = Bench()
    bench.check("b")
    bench.charge(1)

    assert bench.counted == (0, 0)


def test_a_refund_is_no_charge() -> None:
    bench = Bench()
    bench.check()
    bench.charge(1, is_refund=True)

    bench.advance(WAIT)
    bench.advance(WAIT)

    assert bench.counted == (1, 0)


def test_what_has_no_limit_is_not_watched() -> None:
    bench = Bench()
    bench.check(key="free")
    bench.check(key="unknown")

    assert len(bench.metering) == 0


def test_many_counters_whose_time_is_over_are_counted_in_several_turns() -> None:
    bench = Bench(counters_max=1_000)
    for number in range(200):
        bench.check(str(number))

    bench.advance(WAIT)
    for _ in range(20):
        bench.advance(WAIT / 10)

    assert bench.counted == (200, 0)


def test_counters_watched_are_bounded() -> None:
    bench = Bench(counters_max=2)
    for user in "abc":
        bench.check(user)

    assert len(bench.metering) == 2


def test_a_quiet_counter_makes_room() -> None:
    bench = Bench()
    bench.check()
    bench.charge(500)

    bench.advance(WAIT)

    assert len(bench.metering) == 0


def test_a_wait_of_zero_watches_nothing() -> None:
    bench = Bench(wait=0)
    bench.check()

    assert len(bench.metering) == 0
