from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.accounting import (
    RuleStats,
    StatsTable,
    account,
    account_local,
    account_refund,
    near_mark,
)
from serving.metrics import Sample

COUNTS = st.integers(min_value=0, max_value=1_000)


def table(series_max: int = 10, domains_max: int = 2, ttl_seconds: float = 60.0) -> StatsTable:
    return StatsTable(series_max=series_max, domains_max=domains_max, ttl_seconds=ttl_seconds)


def read(stats: StatsTable, now: float = 0.0) -> dict[str, float]:
    return {sample.name.removeprefix("ratelimit.service.rate_limit."): sample.value for sample in stats.samples(now)}


def charged(before: int, hits: int, limit: int, *, is_shadow: bool = False) -> dict[str, int]:
    stats = RuleStats()
    account(stats, before, before + hits, hits, limit, near_mark(limit, 0.8), is_shadow)
    return dict(stats.values())


@pytest.mark.parametrize(
    ("limit", "before", "hits", "expected"),
    [
        pytest.param(15, 10, 1, {"total_hits": 1, "within_limit": 1}, id="well inside"),
        pytest.param(15, 12, 1, {"total_hits": 1, "within_limit": 1, "near_limit": 1}, id="first past the mark"),
        pytest.param(15, 15, 1, {"total_hits": 1, "over_limit": 1}, id="one past the limit"),
        pytest.param(20, 2, 3, {"total_hits": 3, "within_limit": 3}, id="a cost inside"),
        pytest.param(8, 5, 2, {"total_hits": 2, "within_limit": 2, "near_limit": 1}, id="across the mark"),
        pytest.param(20, 16, 3, {"total_hits": 3, "within_limit": 3, "near_limit": 3}, id="all near"),
        pytest.param(20, 19, 3, {"total_hits": 3, "over_limit": 2, "near_limit": 1}, id="across the limit"),
        pytest.param(20, 15, 7, {"total_hits": 7, "over_limit": 2, "near_limit": 4}, id="across both"),
        pytest.param(10, 27, 3, {"total_hits": 3, "over_limit": 3}, id="far over"),
        pytest.param(10, 11, 0, {}, id="a look"),
        pytest.param(0, 0, 1, {"total_hits": 1, "over_limit": 1}, id="a ban"),
    ],
)
def test_hits_fall_into_the_zones_they_reach(limit: int, before: int, hits: int, expected: dict[str, int]) -> None:
    assert charged(before, hits, limit) == expected


def test_a_shadow_rule_counts_what_it_would_have_denied() -> None:
    assert charged(19, 3, 20, is_shadow=True)["shadow_mode"] == 2
    assert charged(20, 3, 20, is_shadow=True)["shadow_mode"] == 3
    assert "shadow_mode" not in charged(0, 3, 20, is_shadow=True)


@given(before=COUNTS, hits=COUNTS, limit=COUNTS)
def test_no_hit_is_both_within_and_over(before: int, hits: int, limit: int) -> None:
    counted = charged(before, hits, limit)

    assert counted.get("within_limit", 0) + counted.get("over_limit", 0) <= hits
    assert 0 <= counted.get("near_limit", 0) <= hits


def test_a_remembered_denial_is_over_with_all_its_hits() -> None:
    stats = RuleStats()

    account_local(stats, 3, is_shadow=False)

    assert dict(stats.values()) == {"total_hits": 3, "over_limit": 3, "over_limit_with_local_cache": 3}


def test_a_remembered_denial_of_a_shadow_rule_is_shadowed_too() -> None:
    stats = RuleStats()

    account_local(stats, 3, is_shadow=True)

    assert stats.shadow_mode == 3


def test_a_refund_lowers_no_sum() -> None:
    stats = RuleStats()

    account_refund(stats, 3)

    assert dict(stats.values()) == {"total_negative_hits": 3}


@pytest.mark.parametrize(
    ("amount", "ratio", "expected"),
    [
        (10, 0.7, 7),
        (15, 0.8, 12),
        (8, 0.8, 6),
        pytest.param(180, 0.7, 126, id="doubles say 125"),
        (0, 0.8, 0),
        pytest.param(16_777_219, 1.0, 16_777_219, id="never above the limit"),
        pytest.param(2**53 - 1, 1e60, 2**53 - 1, id="a ratio out of range"),
    ],
)
def test_the_near_mark_is_single_precision(amount: int, ratio: float, expected: int) -> None:
    assert near_mark(amount, ratio) == expected


def test_only_what_moved_is_a_series() -> None:
    stats = table()

    stats["d.k"].total_hits += 2
    stats["d.quiet"].total_hits += 0

    assert read(stats) == {"d.k.total_hits": 2}


def test_an_unknown_domain_has_a_series_of_its_own() -> None:
    stats = table()

    stats["nowhere"].domain_not_found += 3

    assert read(stats) == {"nowhere.domain_not_found": 3}


def test_a_key_finds_the_same_sums_every_time() -> None:
    stats = table()

    assert stats["d.k"] is stats["d.k"]


def test_beyond_its_size_a_table_counts_under_other() -> None:
    stats = table(series_max=1)

    for key in ("d.a", "d.b", "d.c", "e.a"):
        stats[key].total_hits += 1

    assert read(stats) == {"d.a.total_hits": 1, "d.other.total_hits": 2, "e.other.total_hits": 1}


def test_domains_with_an_other_of_their_own_are_bounded() -> None:
    stats = table(series_max=0, domains_max=1)

    for key in ("d.a", "e.a", "f.a", "d.b"):
        stats[key].total_hits += 1

    assert read(stats) == {"d.other.total_hits": 2, "other.total_hits": 2}


def test_unknown_domains_share_one_other() -> None:
    stats = table(series_max=0)

    stats["x"].domain_not_found += 1
    stats["y"].domain_not_found += 1

    assert read(stats) == {"other.domain_not_found": 2}


def test_a_series_that_stands_too_long_is_dropped() -> None:
    stats = table(ttl_seconds=60.0)
    stats["d.k"].total_hits += 1
    read(stats, now=100.0)

    assert read(stats, now=160.0) == {"d.k.total_hits": 1}
    assert read(stats, now=160.1) == {}
    assert len(stats) == 0


def test_a_series_that_moves_stays() -> None:
    stats = table(ttl_seconds=60.0)
    stats["d.k"].total_hits += 1
    read(stats, now=100.0)
    stats["d.k"].total_hits += 1
    read(stats, now=160.0)

    assert read(stats, now=200.0) == {"d.k.total_hits": 2}


def test_a_dropped_series_makes_room_for_another() -> None:
    stats = table(series_max=1, ttl_seconds=60.0)
    stats["d.a"].total_hits += 1
    read(stats, now=0.0)
    read(stats, now=61.0)

    stats["d.b"].total_hits += 1

    assert read(stats, now=61.0) == {"d.b.total_hits": 1}


def test_a_reading_may_pause_while_another_one_drops() -> None:
    stats = table(ttl_seconds=60.0)
    for key in ("d.a", "d.b"):
        stats[key].total_hits += 1
    read(stats, now=0.0)
    stats["d.a"].total_hits += 1
    slow = stats.samples(61.0)
    next(slow)

    assert read(stats, now=61.0) == {"d.a.total_hits": 2}
    assert list(slow) == []


def test_faults_of_gateways_are_told_apart_from_what_rules_count() -> None:
    table = StatsTable(series_max=10, domains_max=1, ttl_seconds=60)
    table["d.k"].charges_of_one += 2

    assert list(table.samples(0)) == [Sample("weir.metering.charges_of_one", 2, "counter", {"rule": "d.k"})]
