from __future__ import annotations

from ratelimit.local_cache import ENTRY_BYTES, LocalCache


def test_a_key_is_over_until_its_window_ends() -> None:
    cache = LocalCache(1_000)
    cache.remember("k", 60.0, 11)

    assert (cache.is_over("k", 59.9, 10), cache.is_over("k", 60.0, 10), len(cache)) == (True, False, 0)
    assert (cache.hits, cache.misses, cache.expirations) == (1, 1, 1)


def test_a_key_is_over_as_long_as_more_is_spent_than_its_limit_now() -> None:
    cache = LocalCache(1_000)
    cache.remember("k", 60.0, 11)

    assert [cache.is_over("k", 0.0, amount) for amount in (10, 11, 10)] == [True, False, True]


def test_a_key_that_was_forgotten_is_not_over() -> None:
    cache = LocalCache(1_000)
    cache.remember("k", 60.0, 11)
    cache.forget("k")
    cache.forget("never")

    assert cache.is_over("k", 0.0, 10) is False


def test_the_oldest_leaves_when_the_bytes_are_used_up() -> None:
    cache = LocalCache(2 * (ENTRY_BYTES + 1))
    for key in "abc":
        cache.remember(key, 60.0, 11)

    assert [cache.is_over(key, 0.0, 10) for key in "abc"] == [False, True, True]
    assert cache.evictions == 1


def test_remembering_again_renews_and_costs_nothing_more() -> None:
    cache = LocalCache(2 * (ENTRY_BYTES + 1))
    for key in "aab":
        cache.remember(key, 60.0, 11)

    assert (len(cache), cache.overwrites, cache.evictions) == (2, 1, 0)
