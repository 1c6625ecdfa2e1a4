from __future__ import annotations

from serving.fleet import Fleet, dump
from serving.metrics import OBSERVATIONS_MAX, Registry


def process(hits: int, queue: int = 0, **labels: str) -> Registry:
    registry = Registry()
    registry.counter("hits", **labels).add(hits)
    registry.gauge("queue", lambda: queue)
    return registry


def told(registry: Registry) -> dict[str, float]:
    return {f"{sample.name}{dict(sample.labels) or ''}": sample.value for sample in registry.samples()}


async def test_counters_and_gauges_of_all_processes_are_added_up() -> None:
    registry = Registry()
    fleet = Fleet(registry, series_max=10)
    fleet.take(0, await dump(process(3, queue=1)))
    fleet.take(1, await dump(process(4, queue=2)))

    assert told(registry) == {"hits": 7, "queue": 3}


async def test_series_of_other_labels_stay_apart() -> None:
    registry = Registry()
    fleet = Fleet(registry, series_max=10)
    fleet.take(0, await dump(process(3, kind="a")))
    fleet.take(1, await dump(process(4, kind="b")))

    assert told(registry) == {"hits{'kind': 'a'}": 3, "hits{'kind': 'b'}": 4, "queue": 0}


async def test_a_dump_takes_the_place_of_the_last_one() -> None:
    registry = Registry()
    fleet = Fleet(registry, series_max=10)
    for hits in (3, 5):
        fleet.take(0, await dump(process(hits)))

    assert told(registry)["hits"] == 5


async def test_what_an_ended_process_counted_is_kept_and_its_gauges_are_not() -> None:
    registry = Registry()
    fleet = Fleet(registry, series_max=10)
    fleet.take(0, await dump(process(3, queue=1)))
    fleet.end(0)
    fleet.take(0, await dump(process(4, queue=2)))
    fleet.end(7)

    assert told(registry) == {"hits": 7, "queue": 2}


async def test_what_is_kept_of_ended_processes_is_bounded() -> None:
    registry = Registry()
    fleet = Fleet(registry, series_max=1)
    for kind in ("a", "b", "a"):
        fleet.take(0, await dump(process(3, kind=kind)))
        fleet.end(0)

    assert told(registry) == {"hits{'kind': 'a'}": 6}


async def test_timers_are_added_up_and_never_go_back() -> None:
    registry = Registry()
    fleet = Fleet(registry, series_max=10)
    for number, seconds in enumerate((0.001, 0.002, 20.0)):
        observed = Registry()
        observed.timer("time").observe(seconds, 2)
        fleet.take(number, await dump(observed))
    fleet.end(1)
    timer = registry.timers["time"]

    assert (timer.count, round(timer.sum_seconds, 3)) == (6, 40.006)
    assert (sum(timer.buckets), timer.buckets[-1]) == (6, 2)
    assert timer.recent == [0.001, 0.002, 20.0]


async def test_observations_for_statsd_are_told_once_and_bounded() -> None:
    registry, observed = Registry(), Registry()
    fleet = Fleet(registry, series_max=10)
    for _ in range(2):
        for _ in range(OBSERVATIONS_MAX - 100):
            observed.timer("time").observe(0.1)
        fleet.take(0, await dump(observed))

    assert observed.timers["time"].recent == []
    assert len(registry.timers["time"].recent) == OBSERVATIONS_MAX


async def test_a_sink_may_have_the_fleet_read_first() -> None:
    registry = Registry()
    fleet = Fleet(registry, series_max=10)

    async def read() -> None:
        fleet.take(0, await dump(process(3)))

    registry.refresh_by(read)
    await registry.refresh()

    assert told(registry)["hits"] == 3
