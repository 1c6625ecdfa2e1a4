from __future__ import annotations

import pytest

from serving.metrics import BUCKETS_SECONDS, OBSERVATIONS_MAX, Registry, Sample, Timer


def test_a_counter_is_the_same_one_every_time() -> None:
    registry = Registry()

    registry.counter("calls", peer="a", code="0").add()
    registry.counter("calls", code="0", peer="a").add(2)

    assert list(registry.samples()) == [Sample("calls", 3, "counter", {"code": "0", "peer": "a"})]


def test_a_gauge_is_read_when_a_sink_looks() -> None:
    registry, queue = Registry(), [1, 2]
    registry.gauge("waiting", lambda: len(queue), peer="a")
    queue.append(3)

    assert list(registry.samples()) == [Sample("waiting", 3, "gauge", {"peer": "a"})]


def test_a_source_is_asked_each_time() -> None:
    registry, names = Registry(), ["a"]
    registry.add_source(lambda: (Sample(name, 1) for name in names))
    names.append("b")

    assert [sample.name for sample in registry.samples()] == ["a", "b"]


def test_a_reader_may_pause_while_counters_are_made() -> None:
    registry = Registry()
    registry.counter("a")
    registry.gauge("g", lambda: 0.0)
    samples = registry.samples()
    next(samples)
    registry.counter("b")

    assert [sample.name for sample in samples] == ["g"]


@pytest.mark.parametrize("seconds", [0.0, *BUCKETS_SECONDS, 11.0])
def test_an_observation_falls_into_the_first_bucket_that_holds_it(seconds: float) -> None:
    timer = Timer()

    timer.observe(seconds)

    expected = sum(bound < seconds for bound in BUCKETS_SECONDS)
    assert [index for index, count in enumerate(timer.buckets) if count] == [expected]


def test_the_calls_of_a_batch_are_one_observation_many_times() -> None:
    timer = Registry().timer("t")

    timer.observe(0.5, times=3)

    assert (timer.count, timer.sum_seconds, sum(timer.buckets), timer.recent) == (3, 1.5, 3, [0.5])


def test_observations_kept_for_statsd_are_bounded() -> None:
    timer = Timer()

    for _ in range(OBSERVATIONS_MAX + 1):
        timer.observe(0.1)

    assert (len(timer.recent), timer.count) == (OBSERVATIONS_MAX, OBSERVATIONS_MAX + 1)


def test_a_timer_is_the_same_one_every_time() -> None:
    registry = Registry()

    assert registry.timer("t") is registry.timer("t")
