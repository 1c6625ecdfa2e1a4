from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.accounting import StatsTable
from ratelimit.descriptor import Descriptor, Request
from ratelimit.errors import StoreError, StoreUnavailable
from ratelimit.limiter import Ask, Limiter
from ratelimit.limits import Windows
from ratelimit.local_cache import LocalCache
from ratelimit.outage import Outage
from ratelimit.plan import Planner
from ratelimit.rules import RuleSet
from ratelimit.settings import ModeSettings
from ratelimit.spenders import Spenders
from ratelimit.store import COUNT_MAX, Admission, AdmissionOutcome, Ledger, Outcome, Policy
from ratelimit.stores.memory import MemoryStore
from ratelimit.verdict import NO_LIMIT, UNLIMITED, Verdict
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.rules import limit, read_rules, rule_set, unlimited

MODES = ModeSettings()


class CountingStore(MemoryStore):
    """A memory store that tells how often it was asked."""

    def __init__(self) -> None:
        super().__init__(1_000)
        self.batches: list[Sequence[Ledger]] = []

    async def charge(self, ledgers: Sequence[Ledger], now: float) -> Sequence[Outcome]:
        self.batches.append(ledgers)
        return await super().charge(ledgers, now)


class AwayStore(MemoryStore):
    """A memory store whose first ledger of each batch cannot be applied."""

    async def charge(self, ledgers: Sequence[Ledger], now: float) -> Sequence[Outcome]:
        rest = await super().charge(ledgers[1:], now)
        return [StoreUnavailable("away"), *rest]


class Bench:
    """A limiter over memory with a clock that stands."""

    def __init__(
        self, rules: RuleSet, *, store: MemoryStore | None = None, policy: Policy = Policy.BURN, cache: bool = False
    ) -> None:
        self.clock = FakeClock()
        self.stats = StatsTable(series_max=100, domains_max=10, ttl_seconds=60)
        self.store = store or CountingStore()
        self.cache = LocalCache(10_000) if cache else None
        self.rules = rules
        self.limiter = Limiter(
            self.store,
            self.clock,
            self.stats,
            windows=Windows(),
            policy=policy,
            jitter_seconds=300,
            local_cache=self.cache,
        )

    def ask(self, *descriptors: Descriptor, hits: int = 1) -> Ask:
        return Ask(Planner().plan(Request("d", descriptors), self.rules), hits, inf)

    async def decide(self, *asks: Ask, modes: ModeSettings = MODES) -> list[Verdict]:
        verdicts = await self.limiter.decide(asks, modes)
        assert not any(isinstance(verdict, StoreError) for verdict in verdicts)
        return verdicts  # type: ignore[return-value]

    async def one(self, *descriptors: Descriptor, hits: int = 1) -> Verdict:
        return (await self.decide(self.ask(*descriptors, hits=hits)))[0]


def of(key: str, value: str = "1", hits: int | None = None, *, refund: bool = False) -> Descriptor:
    return Descriptor(((key, value),), hits, refund)


async def test_hits_are_allowed_up_to_the_limit_and_denied_beyond() -> None:
    bench = Bench(rule_set("d", limit("a", 2)))

    answers = [await bench.one(of("a")) for _ in range(3)]

    assert [(answer.is_over, answer.statuses[0].remaining) for answer in answers] == [(False, 1), (False, 0), (True, 0)]


async def test_a_batch_is_one_round_trip_and_sees_its_own_charges() -> None:
    bench = Bench(rule_set("d", limit("a", 2)))

    verdicts = await bench.decide(*[bench.ask(of("a")) for _ in range(4)])

    assert [verdict.is_over for verdict in verdicts] == [False, False, True, True]
    assert isinstance(bench.store, CountingStore)
    assert [len(batch) for batch in bench.store.batches] == [4]


async def test_what_plain_counters_spend_is_noted_once_for_each_call_and_refunds_are_not() -> None:
    bench = Bench(rule_set("d", limit("a", 100), limit("b", 100)))
    spenders = bench.limiter._spenders = Spenders(10, 60.0)
    again = bench.ask(of("a", hits=2))

    await bench.decide(again, Ask(again.plan, again.hits, inf), bench.ask(of("b")), bench.ask(of("a", "2", hits=0)))
    await bench.decide(bench.ask(of("a", hits=2, refund=True)))

    found, _ = spenders.top(10, bench.clock.steady())
    assert [(each.entries, each.spent) for each in found] == [((("a", "1"),), 4), ((("b", "1"),), 1)]


async def test_of_equal_calls_under_own_modes_what_passes_is_noted() -> None:
    rate = "{unit: hour, requests_per_unit: 5, on_deny: keep}"
    bench = Bench(read_rules(f"domain: d\ndescriptors: [{{key: a, rate_limit: {rate}}}]"))
    spenders = bench.limiter._spenders = Spenders(10, 60.0)
    asked = bench.ask(of("a", hits=2))

    verdicts = await bench.decide(*[Ask(asked.plan, asked.hits, inf) for _ in range(3)])

    found, _ = spenders.top(10, bench.clock.steady())
    assert [verdict.is_over for verdict in verdicts] == [False, False, True]
    assert [each.spent for each in found] == [4]


async def test_the_store_is_not_asked_where_nothing_is_counted() -> None:
    bench = Bench(rule_set("d", unlimited("u")))

    verdict = await bench.one(of("u"), of("nothing"))

    assert (verdict.statuses, isinstance(bench.store, CountingStore) and bench.store.batches) == (
        [UNLIMITED, NO_LIMIT],
        [],
    )


async def test_reset_and_key_belong_to_one_window() -> None:
    bench = Bench(rule_set("d", limit("a", 2, unit="minute")))
    bench.clock.advance(41.5)

    verdict = await bench.one(of("a"))

    assert isinstance(bench.store, CountingStore)
    assert (verdict.statuses[0].reset_seconds, bench.store.batches[0][0].charges[0].key) == (19, "d_a_1_1700007600")


async def test_a_counter_outlives_its_window_by_less_than_the_jitter() -> None:
    bench = Bench(rule_set("d", limit("a")))

    await bench.one(of("a"))

    assert isinstance(bench.store, CountingStore)
    assert 3600 <= bench.store.batches[0][0].charges[0].ttl_seconds < 3600 + 300


async def test_hits_of_a_descriptor_replace_those_of_the_request() -> None:
    bench = Bench(rule_set("d", limit("a"), limit("b"), limit("c")))

    verdict = await bench.one(of("a", hits=5), of("b"), of("c", hits=0), hits=3)

    assert [status.remaining for status in verdict.statuses] == [5, 7, 10]


async def test_a_shadow_rule_counts_and_passes() -> None:
    bench = Bench(rule_set("d", limit("a", 0, shadow_mode=True)))

    verdict = await bench.one(of("a"))

    assert (verdict.is_over, verdict.statuses[0].is_over, bench.stats["d.a"].shadow_mode) == (False, False, 1)


async def test_a_refund_is_never_refused_and_counted_apart() -> None:
    bench = Bench(rule_set("d", limit("a")))
    await bench.one(of("a", hits=20))

    verdict = await bench.one(of("a", hits=3, refund=True))

    assert (verdict.is_over, verdict.statuses[0].remaining) == (False, 0)
    assert (bench.stats["d.a"].total_negative_hits, bench.stats["d.a"].total_hits) == (3, 20)


async def test_refund_and_charge_of_one_counter_in_one_request_are_applied_in_order() -> None:
    bench = Bench(rule_set("d", limit("a", 1000)))
    await bench.one(of("a", hits=400))

    verdict = await bench.one(of("a", hits=400, refund=True), of("a", hits=120))

    assert [status.remaining for status in verdict.statuses] == [1000, 880]


async def test_what_is_known_to_be_over_is_denied_without_asking_the_store() -> None:
    bench = Bench(rule_set("d", limit("a", 1), limit("s", 0, shadow_mode=True)), cache=True)
    for _ in range(2):
        await bench.one(of("a"), of("s"))

    verdict = await bench.one(of("a"), of("s"))

    assert isinstance(bench.store, CountingStore)
    assert (len(bench.store.batches), [status.is_over for status in verdict.statuses]) == (2, [True, False])
    assert (bench.stats["d.a"].over_limit_with_local_cache, bench.stats["d.s"].shadow_mode) == (1, 3)


async def test_a_refund_makes_the_local_cache_forget() -> None:
    bench = Bench(rule_set("d", limit("a", 10)), cache=True)
    await bench.one(of("a", hits=12))

    await bench.one(of("a", hits=5, refund=True))

    assert (await bench.one(of("a"))).statuses[0].remaining == 2


async def test_stop_charges_only_what_goes_over() -> None:
    bench = Bench(rule_set("d", limit("a", 20), limit("b", 1)), policy=Policy.STOP)
    await bench.one(of("a"), of("b"))

    verdict = await bench.one(of("a"), of("b"))

    assert [(status.is_over, status.remaining) for status in verdict.statuses] == [(False, 19), (True, 0)]
    assert bench.stats["d.a"].within_limit == 2


async def test_stop_charges_nothing_beside_a_limit_that_is_known_to_be_over() -> None:
    bench = Bench(rule_set("d", limit("a", 20), limit("b", 0)), policy=Policy.STOP, cache=True)
    await bench.one(of("b"))

    verdict = await bench.one(of("b"), of("a"), of("a", hits=0, refund=True))

    assert [status.remaining for status in verdict.statuses] == [0, 20, 20]


async def test_headers_and_metadata_are_worked_out_only_where_they_are_on() -> None:
    bench = Bench(rule_set("d", limit("a")))
    modes = ModeSettings(limit_request_headers_enabled=True, response_dynamic_metadata=True)

    plain, full = (await bench.decide(bench.ask(of("a"))))[0], (await bench.decide(bench.ask(of("a")), modes=modes))[0]

    assert (plain.tightest, plain.metadata) == (None, None)
    assert (full.tightest, full.metadata and full.metadata["domain"]) == (full.statuses[0], "d")


async def test_an_error_of_the_store_is_one_calls_alone() -> None:
    bench = Bench(rule_set("d", limit("a")), store=AwayStore(10))

    first, second = await bench.limiter.decide([bench.ask(of("a")), bench.ask(of("a"))], MODES)

    assert isinstance(first, StoreUnavailable)
    assert isinstance(second, Verdict)
    assert second.statuses[0].remaining == 9


A, B = Descriptor((("a", "1"),)), Descriptor((("b", ""),))


async def test_equal_calls_that_follow_each_other_are_charged_as_one() -> None:
    bench = Bench(rule_set("d", limit("a", 3), limit("b", 10)))
    store = bench.store
    assert isinstance(store, CountingStore)
    ask, other = bench.ask(A, B), bench.ask(B)
    verdicts = await bench.decide(ask, ask, other, ask, ask)

    assert [len(ledgers) for ledgers in store.batches] == [3]
    assert [verdict.is_over for verdict in verdicts] == [False, False, False, False, True]
    assert [verdict.statuses[0].remaining for verdict in verdicts] == [2, 1, 7, 0, 0]


async def test_calls_that_are_charged_as_one_fail_as_one() -> None:
    bench = Bench(rule_set("d", limit("a")), store=AwayStore(1_000))
    ask = bench.ask(A)
    verdicts = await bench.limiter.decide([ask, ask], MODES)

    assert [type(verdict) for verdict in verdicts] == [StoreUnavailable, StoreUnavailable]


async def test_the_longest_deadline_is_the_one_of_calls_that_are_charged_as_one() -> None:
    bench = Bench(rule_set("d", limit("a")))
    store = bench.store
    assert isinstance(store, CountingStore)
    plan = bench.ask(A).plan
    await bench.decide(Ask(plan, 1, 2.0), Ask(plan, 1, 5.0), Ask(plan, 1, 3.0))

    assert [ledger.deadline for ledger in store.batches[0]] == [5.0]


@pytest.mark.parametrize(("on_store_error", "store_seconds"), [("open", 3.0), ("error", 4.0)])
async def test_a_rule_that_answers_without_the_store_leaves_a_quarter_of_the_time_for_that(
    on_store_error: str, store_seconds: float
) -> None:
    rule = f"{{ unit: day, amount: 8, on_store_error: {on_store_error} }}"
    bench = Bench(read_rules(f"domain: d\ndescriptors: [{{ key: a, rate_limit: {rule} }}]"))
    store = bench.store
    assert isinstance(store, CountingStore)
    bench.limiter._outage = Outage(store, MemoryStore(10), bench.clock, Registry(), replay_max=1)
    await bench.decide(Ask(bench.ask(A).plan, 1, bench.clock.steady() + 4.0))

    assert [ledger.deadline - bench.clock.steady() for ledger in store.batches[0]] == [store_seconds]


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["a", "ab", "aa", "u", "refund", "none", "shadow", "wide", "look"]),
        st.sampled_from([1, 2, COUNT_MAX]),
    ),
    max_size=12,
)


@pytest.mark.parametrize("policy", Policy)
@given(calls=CALLS)
async def test_a_batch_is_answered_as_its_calls_one_by_one(calls: Sequence[tuple[str, int]], policy: Policy) -> None:
    rules = rule_set("d", limit("a", 3), limit("b", 4), limit("s", 2, shadow_mode=True), unlimited("u"), limit("w", 20))
    kinds = {
        "a": [A],
        "ab": [A, B],
        "aa": [A, A],
        "u": [Descriptor((("u", ""),)), A],
        "refund": [Descriptor((("a", "1"),), 1, is_refund=True)],
        "none": [Descriptor((("x", ""),))],
        "shadow": [Descriptor((("s", ""),)), B],
        "wide": [Descriptor((("w", ""),)), Descriptor((("u", ""),))],
        "look": [Descriptor((("w", ""),), 0), A],
    }
    whole, single = (Bench(rules, policy=policy) for _ in range(2))
    plans = {name: whole.ask(*descriptors).plan for name, descriptors in kinds.items()}
    asks = [Ask(plans[name], hits, inf) for name, hits in calls]
    together = await whole.decide(*asks)
    alone = [(await single.decide(Ask(plans[name], hits, inf)))[0] for name, hits in calls]

    assert together == alone
    assert figures(whole) == figures(single)


OWN_RULES = """domain: d
descriptors:
  - {key: keep, rate_limit: {unit: hour, requests_per_unit: 5, on_deny: keep}}
  - {key: sliding, rate_limit: {window: 30s, amount: 4, algorithm: sliding_window}}
  - {key: bucket, rate_limit: {unit: minute, amount: 60, burst: 5, algorithm: token_bucket}}
  - {key: check, rate_limit: {unit: hour, requests_per_unit: 5, check: exhausted}}
  - {key: reserve, rate_limit: {unit: hour, requests_per_unit: 9, reserve: {ttl: 60s, default: 2}}}
  - {key: once, rate_limit: {unit: hour, requests_per_unit: 5, idempotent: 10m}}
  - {key: shadow, rate_limit: {window: 5h, amount: 3}, shadow_mode: true}
"""
OWN_CALLS = st.lists(
    st.tuples(
        st.lists(
            st.sampled_from(["keep", "sliding", "bucket", "check", "reserve", "once", "shadow"]), min_size=1, max_size=2
        ).map(tuple),
        st.sampled_from([0, 1, 3]),
        st.sampled_from(["", "x"]),
        st.integers(1, 3),
    ),
    max_size=8,
)


@given(calls=OWN_CALLS)
async def test_under_modes_of_our_own_too_a_batch_is_answered_as_its_calls_one_by_one(
    calls: Sequence[tuple[tuple[str, ...], int, str, int]],
) -> None:
    whole, single = (Bench(read_rules(OWN_RULES), store=MemoryStore(1_000)) for _ in range(2))
    plans = {(keys, hits): whole.ask(*[of(key, hits=hits) for key in keys]).plan for keys, hits, _, _ in calls}
    wanted = [(plans[keys, hits], request_id) for keys, hits, request_id, times in calls for _ in range(times)]
    together = await whole.decide(*[Ask(plan, 1, inf, request_id) for plan, request_id in wanted])
    alone = [(await single.decide(Ask(plan, 1, inf, request_id)))[0] for plan, request_id in wanted]

    # Draws have the life of a counter that is born by them, which is drawn by lot.
    assert [replace(verdict, draws=()) for verdict in together] == [replace(verdict, draws=()) for verdict in alone]
    assert figures(whole) == figures(single)


async def test_calls_that_are_drafted_as_one_wait_as_long_as_the_most_patient_of_them() -> None:
    waited: list[float] = []

    class PatientStore(MemoryStore):
        async def admit(
            self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
        ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
            waited.extend(admission.deadline for admission in admissions)
            return await super().admit(ledgers, admissions, now)

    bench = Bench(read_rules(OWN_RULES), store=PatientStore(1_000))
    plan = bench.ask(of("keep")).plan
    await bench.decide(Ask(plan, 1, 2.0), Ask(plan, 1, 5.0), Ask(plan, 1, 3.0))

    assert waited == [5.0, 5.0, 5.0]


def figures(bench: Bench) -> dict[str, list[tuple[str, int]]]:
    return {name: stats.values() for name, stats in bench.stats.items()}
