from __future__ import annotations

from ratelimit.limits import Limit, Unit
from ratelimit.local_cache import ENTRY_BYTES, LocalCache

LIMIT = Limit(10, Unit.DAY)


def test_a_key_is_over_until_its_window_ends() -> None:
    cache = LocalCache(1_000)
    cache.remember("k", 60.0, 11)

    assert (cache.is_over("k", 59.9, LIMIT), cache.is_over("k", 60.0, LIMIT), len(cache)) == (True, False, 0)
    assert (cache.hits, cache.misses, cache.expirations) == (1, 1, 1)


def test_a_key_of_a_limit_that_may_be_raised_is_over_as_long_as_more_is_spent_than_it() -> None:
    cache = LocalCache(1_000)
    cache.remember("k", 60.0, 11)

    raised = [Limit(amount, Unit.DAY, ceiling=99) for amount in (10, 11, 10)]
    assert [cache.is_over("k", 0.0, limit) for limit in (*raised, Limit(11, Unit.DAY))] == [True, False, True, True]


def test_a_key_that_was_forgotten_is_not_over() -> None:
    cache = LocalCache(1_000)
    cache.remember("k", 60.0, 11)
    cache.forget("k")
    cache.forget("never")

    assert cache.is_over("k", 0.0, LIMIT) is False


def test_the_oldest_leaves_when_the_bytes_are_used_up() -> None:
    cache = LocalCache(2 * (ENTRY_BYTES + 1))
    for key in "abc":
        cache.remember(key, 60.0, 11)

    assert [cache.is_over(key, 0.0, LIMIT) for key in "abc"] == [False, True, True]
    assert cache.evictions == 1


def test_remembering_again_renews_and_costs_nothing_more() -> None:
    cache = LocalCache(2 * (ENTRY_BYTES + 1))
    for key in "aab":
        cache.remember(key, 60.0, 11)

    assert (len(cache), cache.overwrites, cache.evictions) == (2, 1, 0)
