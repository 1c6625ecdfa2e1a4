from __future__ import annotations

from ratelimit.dynamic_limit import Change, DynamicLimit, Page
from ratelimit.known_limits import KnownLimits

NOW_MS = 1_700_007_600_000


def page(after: int, version: int, *changes: Change, born: str = "b") -> Page:
    return Page(after, born, version, 0, NOW_MS, changes)


def put(name: str, version: int, amount: int = 7, lives_ms: int = 0) -> Change:
    return Change(name, version, DynamicLimit(name, amount, version, NOW_MS + lives_ms if lives_ms else 0))


def test_a_limit_that_is_put_again_and_again_leaves_no_trail() -> None:
    known = KnownLimits()
    for version in range(1, 100):
        known.take(page(version - 1, version, put("a", version, lives_ms=1_000 * version)), 0.0)

    assert len(known._ends) <= 2
    known.expire(98.9)
    assert known.get("a") == 7
    known.expire(99.0)
    assert known.get("a") is None


def test_while_all_is_read_anew_the_old_limits_stay_in_force() -> None:
    known = KnownLimits()
    known.take(page(0, 1, put("a", 1, 5)), 0.0)
    is_more = [known.take(page(1, 2, born="another"), 0.0), known.take(page(0, 2, put("b", 1), born="another"), 0.0)]
    between = (known.get("a"), known.get("b"))
    is_more.append(known.take(page(1, 2, put("c", 2), born="another"), 0.0))

    assert (is_more, between) == ([True, True, False], (5, None))
    assert [known.get(name) for name in "abc"] == [None, 7, 7]


def test_its_stamp_changes_with_what_is_in_force_and_with_nothing_else() -> None:
    known = KnownLimits()
    known.take(page(0, 1, put("a", 1, lives_ms=1_000)), 0.0)
    stamps = [known.stamp]
    known.take(page(1, 1), 0.0)
    known.expire(0.5)
    stamps.append(known.stamp)
    known.expire(1.0)
    stamps.append(known.stamp)
    known.forget()
    stamps.append(known.stamp)

    assert stamps[0] == stamps[1]
    assert len(set(stamps)) == 3
    assert (len(known), known.after) == (0, 0)
