"""Dynamic limits from the rules to the verdict, over counters in memory."""

from __future__ import annotations

import math

import pytest

from ratelimit.accounting import StatsTable
from ratelimit.descriptor import Descriptor, Request
from ratelimit.draw import Op
from ratelimit.drawing import Wish
from ratelimit.dynamic_limit import Place
from ratelimit.errors import ConfigError, StoreError
from ratelimit.known_limits import KnownLimits
from ratelimit.limiter import Ask, Limiter
from ratelimit.limits import Limit, Unit, Windows
from ratelimit.local_cache import LocalCache
from ratelimit.moulds import Moulds
from ratelimit.plan import Plan, Planner
from ratelimit.settings import ModeSettings
from ratelimit.store import Policy
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.memory_limits import MemoryLimits
from ratelimit.verdict import Verdict
from tests.fakes.clock import FakeClock
from tests.fakes.rules import read_rules

RULES = """domain: d
descriptors:
  - {key: plain, rate_limit: {unit: hour, requests_per_unit: 10, ceiling: 100}}
  - {key: kept, rate_limit: {unit: hour, amount: 10, ceiling: 100, on_deny: keep}}
  - {key: held, rate_limit: {unit: hour, amount: 10, ceiling: 100, reserve: {max_fraction: 0.5}}}
  - {key: bucket, rate_limit: {unit: hour, amount: 10, burst: 5, ceiling: 100, algorithm: token_bucket}}
  - key: several
    rate_limit: {limits: [{unit: minute, amount: 10, ceiling: 100}, {window: 5h, amount: 50}]}
  - {key: fixed, rate_limit: {unit: hour, requests_per_unit: 10}}
  - {key: model, value: gpt*, share_threshold: true, rate_limit: {unit: hour, requests_per_unit: 10, ceiling: 100}}
"""


class Bench:
    """A planner and a limiter of one replica, and the store that it follows."""

    def __init__(self, rules: str = RULES, *, cache: bool = False, policy: Policy = Policy.BURN) -> None:
        self.clock = FakeClock()
        self.rules = read_rules(rules)
        self.known = KnownLimits()
        self.planner = Planner(limits=self.known)
        self.limits = MemoryLimits(self.clock, limits_max=100)
        self.stats = StatsTable(series_max=100, domains_max=10, ttl_seconds=60)
        self.limiter = Limiter(
            MemoryStore(1_000),
            self.clock,
            self.stats,
            windows=Windows(),
            policy=policy,
            local_cache=LocalCache(10_000) if cache else None,
        )

    async def put(self, key: str, amount: int, value: str = "x", ttl_ms: int = 0, position: int = 0) -> None:
        await self.limits.put(
            self.name(key, value, position), amount, ttl_ms=ttl_ms, expected_version=None, deadline=math.inf
        )
        await self.refresh()

    def name(self, key: str, value: str = "x", position: int = 0) -> str:
        match = self.rules.domains["d"].match(((key, value),))
        assert match is not None
        return Place.of("d", match.counted, match.rule.limits[position]).name

    async def refresh(self) -> None:
        while self.known.take(await self.limits.read(self.known.after, deadline=math.inf), self.clock.steady()):
            pass
        self.known.expire(self.clock.steady())

    def plan(self, key: str, value: str = "x", *, is_explicit: bool = False) -> Plan:
        return self.planner.plan(Request("d", (Descriptor(((key, value),)),)), self.rules, is_explicit=is_explicit)

    def under(self, plan: Plan) -> Plan:
        return self.planner.under(plan, self.rules)

    async def ask(self, plan: Plan, hits: int = 1, wish: Wish | None = None, request_id: str = "") -> Verdict:
        ask = Ask(self.under(plan), hits, math.inf, request_id, wish)
        (verdict,) = await self.limiter.decide([ask], ModeSettings())
        assert not isinstance(verdict, StoreError)
        return verdict

    async def remaining(self, plan: Plan, hits: int) -> int:
        return (await self.ask(plan, hits)).statuses[0].remaining


@pytest.mark.parametrize("key", ["plain", "kept", "held", "several"])
async def test_a_raised_limit_admits_and_a_lowered_one_refuses_and_what_is_used_is_kept(key: str) -> None:
    bench = Bench()
    plan = bench.plan(key)
    await bench.ask(plan, 10)
    before = (await bench.ask(plan)).is_over
    await bench.put(key, 20)
    raised = (await bench.ask(plan)).is_over
    await bench.put(key, 5)
    lowered = (await bench.ask(plan)).is_over
    await bench.limits.clear(bench.name(key), expected_version=None, deadline=math.inf)
    await bench.refresh()
    cleared = bench.under(plan) is plan

    assert (before, raised, lowered, cleared) == (True, False, True, True)


async def test_it_is_the_limit_of_one_descriptor_only() -> None:
    bench = Bench()
    await bench.put("plain", 20, value="mine")

    assert (await bench.remaining(bench.plan("plain", "mine"), 1), await bench.remaining(bench.plan("plain"), 1)) == (
        19,
        9,
    )


async def test_values_that_share_a_threshold_share_the_dynamic_one() -> None:
    bench = Bench()
    await bench.put("model", 20, value="gpt-4o")

    assert await bench.remaining(bench.plan("model", "gpt-5"), 1) == 19


async def test_of_several_limits_one_may_be_changed_and_one_without_a_ceiling_stands() -> None:
    bench = Bench()
    await bench.put("several", 60, position=0)
    await bench.put("several", 1_000, position=1)
    rule = bench.under(bench.plan("several")).steps[0].rule

    assert rule is not None
    assert [limit.amount for limit in rule.limits] == [60, 50]


async def test_a_ceiling_that_was_lowered_since_bounds_what_is_in_force() -> None:
    bench = Bench()
    await bench.put("plain", 100)
    lower = Bench(RULES.replace("requests_per_unit: 10, ceiling: 100", "requests_per_unit: 10, ceiling: 30", 1))
    lower.planner = Planner(limits=bench.known)

    assert await lower.remaining(lower.plan("plain"), 1) == 29


async def test_the_limit_as_it_is_written_goes_with_the_one_in_force() -> None:
    bench = Bench()
    await bench.put("plain", 20)
    limit = (await bench.ask(bench.plan("plain"))).statuses[0].limit

    assert limit is not None
    assert limit.written is not None
    assert (limit.amount, limit.written.amount, limit.ceiling) == (20, 10, 100)


async def test_a_burst_keeps_its_share_of_the_amount() -> None:
    bench = Bench()
    await bench.put("bucket", 31)
    plan = bench.under(bench.plan("bucket"))

    assert [(each.terms.limit, each.terms.capacity) for each in plan.steps[0].countings] == [(31, 16)]


async def test_a_bucket_fills_at_the_rate_in_force() -> None:
    bench = Bench()
    plan = bench.plan("bucket")
    await bench.ask(plan, 5)
    await bench.put("bucket", 100)
    bench.clock.advance(72.0)

    assert await bench.remaining(plan, 1) == 50 - 5 + 2 - 1


async def test_the_share_that_one_hold_may_take_is_of_the_limit_in_force() -> None:
    bench = Bench()
    await bench.put("held", 40)
    plan = bench.under(bench.plan("held"))

    assert [each.terms.hold_max for each in plan.steps[0].countings] == [20]


async def test_a_caller_that_says_what_it_wants_is_held_to_it_too() -> None:
    bench = Bench()
    await bench.put("plain", 3)
    plan = bench.plan("plain", is_explicit=True)
    verdicts = [await bench.ask(plan, hits, Wish(Op.RESERVE), str(hits)) for hits in (2, 3)]

    assert [verdict.is_over for verdict in verdicts] == [False, True]


async def test_hits_of_descriptors_do_not_undo_it() -> None:
    bench = Bench()
    await bench.put("plain", 3)
    verdict = await bench.ask(bench.under(bench.plan("plain")).with_hits([4]))

    assert verdict.is_over


async def test_an_override_of_the_request_still_wins() -> None:
    bench = Bench()
    await bench.put("plain", 3)
    own = bench.under(bench.plan("fixed")).steps[0].rule
    assert own is not None
    request = Request("d", (Descriptor((("plain", "x"),), override=own.limit),))
    plan = bench.planner.plan(request, bench.rules)

    assert await bench.remaining(plan, 1) == 9


async def test_a_key_known_to_be_exhausted_is_asked_for_again_once_its_limit_is_raised() -> None:
    bench = Bench(cache=True)
    plan = bench.plan("plain")
    await bench.ask(plan, 11)
    denied = [(await bench.ask(plan)).is_over for _ in range(2)]
    await bench.put("plain", 100)

    assert (denied, (await bench.ask(plan)).is_over) == ([True, True], False)


async def test_without_a_ceiling_a_key_known_to_be_exhausted_stays_so_as_the_reference_has_it() -> None:
    bench = Bench(cache=True)
    plan = bench.plan("fixed")
    await bench.ask(plan, 11)
    larger = Request("d", (Descriptor((("fixed", "x"),), override=Limit(100, Unit.HOUR)),))

    assert (await bench.ask(bench.planner.plan(larger, bench.rules))).is_over


async def test_under_stop_the_limit_in_force_decides_what_is_charged() -> None:
    bench = Bench(policy=Policy.STOP)
    request = Request("d", (Descriptor((("plain", "x"),)), Descriptor((("fixed", "x"),))))
    plan = bench.planner.plan(request, bench.rules)
    await bench.put("plain", 3)
    verdict = await bench.ask(plan, 4)

    assert [(status.is_over, status.remaining) for status in verdict.statuses] == [(True, 0), (False, 10)]


async def test_near_the_limit_is_near_the_one_in_force() -> None:
    bench = Bench()
    await bench.put("plain", 100)
    await bench.ask(bench.plan("plain"), 10)

    assert bench.stats["d.plain"].near_limit == 0


async def test_calls_that_follow_each_other_are_still_charged_as_one() -> None:
    bench = Bench()
    await bench.put("plain", 3)
    plan = bench.plan("plain")
    asks = [Ask(bench.under(plan), 1, math.inf) for _ in range(5)]
    verdicts = await bench.limiter.decide(asks, ModeSettings())

    assert [verdict.is_over for verdict in verdicts if isinstance(verdict, Verdict)] == [False] * 3 + [True] * 2


async def test_it_ends_at_its_time_without_the_store() -> None:
    bench = Bench()
    plan = bench.plan("plain")
    await bench.put("plain", 20, ttl_ms=5_000)
    inside = await bench.remaining(plan, 1)
    bench.clock.advance(5.0)
    bench.known.expire(bench.clock.steady())

    assert (inside, await bench.remaining(plan, 1)) == (19, 8)


async def test_a_plan_is_made_anew_only_when_a_limit_of_its_own_has_changed() -> None:
    bench = Bench()
    plan = bench.plan("plain")
    await bench.put("plain", 20)
    first = bench.under(plan)
    await bench.put("plain", 20, value="another")
    second = bench.under(plan)
    await bench.put("plain", 21)

    assert (first is second, bench.under(plan) is first) == (True, False)


async def test_where_no_limit_was_changed_a_plan_is_itself() -> None:
    bench = Bench()
    plan = bench.plan("plain")
    alone = bench.under(plan)
    await bench.put("plain", 20, value="another")

    assert (alone is plan, bench.under(plan) is plan) == (True, True)


def test_rules_say_whether_dynamic_limits_matter_at_all() -> None:
    plain = "domain: d\ndescriptors:\n  - {key: fixed, rate_limit: {unit: hour, requests_per_unit: 10}}\n"

    assert (Bench().rules.has_ceilings, Bench(plain).rules.has_ceilings) == (True, False)
    assert Bench(plain).plan("fixed").changing is None


def test_a_plain_rule_with_a_ceiling_is_counted_as_plainly_as_without() -> None:
    assert Bench().plan("plain").is_plain


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        ("{unit: hour, amount: 10, ceiling: 9}", "ceiling: 9 is below the amount, 10"),
        ("{unit: hour, amount: 10, ceiling: lots}", "ceiling: an integer from 1 to 9007199254740991 is wanted"),
        ("{unlimited: true, ceiling: 9}", "ceiling: an unlimited rule has none"),
        (
            "{limits: [{unit: hour, amount: 10}], ceiling: 90}",
            "limits: give amounts and windows inside it, not beside it",
        ),
    ],
)
def test_a_ceiling_that_makes_no_sense_is_refused(limit: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Bench(f"domain: d\ndescriptors:\n  - key: k\n    rate_limit: {limit}\n")

    assert [(each.line, each.message) for each in raised.value.problems] == [(4, problem)]


def test_places_are_told_apart_whatever_is_in_them() -> None:
    places = [
        Place("d", (("a", "b"),), "minute", "fixed_window"),
        Place("d", (("a", "b"),), "minute", "sliding_window"),
        Place("d", (("a", "b"),), "hour", "fixed_window"),
        Place("d", (("a", 'b"],["c'),), "minute", "fixed_window"),
        Place("d", (("a", "b"), ("c", "")), "minute", "fixed_window"),
    ]

    assert len({place.name for place in places}) == len(places)
    assert [Place.read(place.name) for place in places] == places


async def test_requests_that_are_planned_alike_have_limits_of_their_own() -> None:
    bench = Bench()
    mould = Moulds(bench.planner, bench.rules).make("d", [["plain"]])
    assert mould is not None
    plans = [mould.plan([value], Request("d", (Descriptor((("plain", value),)),))) for value in ("x", "y")]
    await bench.put("plain", 20, value="y")

    assert [await bench.remaining(plan, 1) for plan in plans if plan is not None] == [9, 19]
