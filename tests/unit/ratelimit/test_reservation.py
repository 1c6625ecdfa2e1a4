from __future__ import annotations

from ratelimit.admission import Counter, make_meter
from ratelimit.draw import SWEEP_MAX, Algorithm, Terms
from ratelimit.reservation import Hold, Holds


def hold(amount: int = 10, due_ms: int = 1_000) -> Hold:
    return Hold(amount, 0, due_ms)


def held(holds: Holds) -> int:
    return sum(one.amount for _, one in holds.outstanding(0))


def test_a_hold_is_given_back_once() -> None:
    holds = Holds()
    holds.add("a", hold())
    holds.add("b", hold(5))

    for _ in range(2):
        holds.end("ia", 2_000)

    assert (held(holds), holds._totals) == (5, {0: 5})


def test_one_sweep_ends_some_holds_and_the_next_one_goes_on() -> None:
    holds = Holds()
    for _ in range(SWEEP_MAX + 10):
        holds.add("", hold(1))
    left = []
    for _ in range(2):
        holds.sweep(1_000, 0)
        left.append(len(list(holds.outstanding(0))))

    assert left == [10, 0]


def test_where_there_is_no_room_the_oldest_charge_counts_again() -> None:
    counter = Counter(make_meter(Terms(Algorithm.FIXED_WINDOW, 10)), charged_max=2)
    for fingerprint in ("first", "second", "third"):
        counter.remember(fingerprint, 1_000)

    assert list(counter.charged) == ["second", "third"]


def test_holds_of_nothing_end_one_by_one() -> None:
    holds = Holds()
    for _ in range(2):
        holds.add("", Hold(0, 60, 100))

    holds.sweep(100, 0)

    assert (len(holds), holds.total(60)) == (0, 0)
