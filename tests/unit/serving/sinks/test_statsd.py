from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from serving.metrics import Registry, Sample
from serving.sinks.lines import Statsd
from serving.sinks.senders import Datagrams, Log, Sender, Stream, packets
from serving.sinks.statsd import StatsdSink


class Kept:
    """A sender that keeps what it is given, and may be away."""

    def __init__(self) -> None:
        self.flushes: list[Sequence[str]] = []
        self.is_away = False

    def __str__(self) -> str:
        return "statsd at h:1"

    async def send(self, lines: Sequence[str]) -> None:
        if self.is_away:
            raise ConnectionRefusedError
        self.flushes.append(lines)


class Bench:
    def __init__(self) -> None:
        self.registry = Registry()
        self.sent = Kept()
        self.sink = StatsdSink(3600, self.registry, Statsd({}), self.sent)


async def test_a_counter_is_sent_as_what_it_grew_by() -> None:
    bench = Bench()
    counter = bench.registry.counter("c")
    counter.add(2)
    await bench.sink.flush()
    counter.add(3)
    await bench.sink.flush()

    assert bench.sent.flushes == [["c:2|c"], ["c:3|c"]]


async def test_what_stood_still_is_not_sent() -> None:
    bench = Bench()
    bench.registry.counter("c").add(2)
    await bench.sink.flush()
    await bench.sink.flush()

    assert len(bench.sent.flushes) == 1


async def test_a_gauge_is_sent_every_time() -> None:
    bench = Bench()
    bench.registry.gauge("g", lambda: 1.5)
    await bench.sink.flush()
    await bench.sink.flush()

    assert bench.sent.flushes == [["g:1.5|g"]] * 2


async def test_times_are_sent_in_milliseconds_once() -> None:
    bench = Bench()
    bench.registry.timer("t").observe(0.25)
    await bench.sink.flush()
    await bench.sink.flush()

    assert bench.sent.flushes == [["t:250|ms"]]


async def test_a_series_that_was_dropped_and_born_again_counts_from_nothing() -> None:
    bench = Bench()
    samples = [Sample("s", 5)]
    bench.registry.add_source(lambda: samples)
    await bench.sink.flush()
    samples[:] = []
    await bench.sink.flush()
    samples[:] = [Sample("s", 5)]
    await bench.sink.flush()

    assert bench.sent.flushes == [["s:5|c"], ["s:5|c"]]


async def test_an_outage_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.registry.gauge("g", lambda: 1)
    for is_away in (True, True, False, True):
        bench.sent.is_away = is_away
        await bench.sink.flush()

    assert caplog.messages == ["statsd at h:1 is away"] * 2


async def test_stopping_flushes_a_last_time() -> None:
    bench = Bench()
    await bench.sink.start()
    bench.registry.counter("c").add(1)

    await bench.sink.stop()

    assert bench.sent.flushes == [["c:1|c"]]


async def test_a_sink_that_never_started_sends_nothing() -> None:
    bench = Bench()
    bench.registry.counter("c").add(1)

    await bench.sink.stop()

    assert bench.sent.flushes == []


def test_lines_share_packets_up_to_their_size() -> None:
    lines = ["x" * 700, "y" * 699, "z" * 698, "w" * 3000, "v"]

    assert [len(packet) for packet in packets(lines)] == [701, 700 + 699, 3001, 2]


async def test_without_a_sink_numbers_are_logged_up_to_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    await Log().send([f"c{number}:1|c" for number in range(1_002)])

    logged = [record.getMessage() for record in caplog.records if record.name == Log.__module__]
    assert (logged[0], logged[-1], len(logged)) == ("c0:1|c", "and 2 more", 1_001)


async def test_a_few_numbers_are_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    await Log().send(["a:1|c"])

    assert [record.getMessage() for record in caplog.records if record.name == Log.__module__] == ["a:1|c"]


def test_no_lines_are_no_packet() -> None:
    assert list(packets([])) == []


@pytest.mark.parametrize(
    ("sender", "name"), [(Stream("h", 1), "statsd at h:1"), (Datagrams("h", 1), "statsd at h:1"), (Log(), "the log")]
)
def test_who_is_away_is_named(sender: Sender, name: str) -> None:
    assert str(sender) == name
