"""No interval as long as the window holds more than the limit, whatever is asked and when."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit.admission import Admitter, Counter, make_meter
from ratelimit.draw import SLICES, Algorithm, Draw, Op, Terms

WINDOW_MS = 1_000
LIMIT = 50
TERMS = Terms(Algorithm.SLIDING_WINDOW, LIMIT, WINDOW_MS, LIMIT)

asks = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60)), min_size=1, max_size=120)


def spend(script: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what was let through: (ms, hits)."""
    counter = Counter(make_meter(TERMS), 10)
    admitter = Admitter(lambda _: counter, holds_max=10)
    now_ms, passed = 1_700_000_000_000, []
    for pause_ms, hits in script:
        now_ms += pause_ms
        [standing] = admitter.admit([Draw("k", Op.CHARGE, hits, TERMS)], now_ms, is_kept=True)
        if not standing.is_over:
            passed.append((now_ms, hits))
    return passed


@settings(max_examples=300, deadline=None)
@given(script=asks)
def test_no_interval_holds_more_than_the_limit(script: list[tuple[int, int]]) -> None:
    passed = spend(script)

    # An interval is fullest where it begins with a hit: [t, t + window).
    for start_ms, _ in passed:
        assert sum(hits for at_ms, hits in passed if start_ms <= at_ms < start_ms + WINDOW_MS) <= LIMIT


@settings(max_examples=300, deadline=None)
@given(script=asks)
def test_what_is_refused_would_not_fit_into_a_window_and_one_slice(script: list[tuple[int, int]]) -> None:
    now_ms, passed = 1_700_000_000_000, {}
    accepted = spend(script)
    for pause_ms, hits in script:
        now_ms += pause_ms
        if accepted and accepted[0] == (now_ms, hits):
            accepted.pop(0)
            passed.setdefault(now_ms, []).append(hits)
            continue
        slack_ms = WINDOW_MS + -(-WINDOW_MS // SLICES)
        recent = sum(sum(each) for at_ms, each in passed.items() if now_ms - slack_ms < at_ms)
        assert recent + hits > LIMIT


def test_a_caller_at_the_limit_gets_all_but_a_slice_of_it() -> None:
    passed = sum(hits for _, hits in spend([(1, 1)] * 10_000))

    assert passed >= LIMIT * 10 * SLICES // (SLICES + 1) - LIMIT
