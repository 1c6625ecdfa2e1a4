"""Spans and metrics as a collector gets them, by both protocols of OTLP."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from serving.calls import Call, Caller, Failure, Later, PromptHandler, Reply, StatusCode
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.otlp import metric_exporter, resource
from serving.settings import TracingSettings
from serving.sinks.mapping import Mapper, read_mapper
from serving.sinks.otlp import OtlpSink
from serving.sinks.prometheus import Names
from serving.spans import STEPS, Headers, Step
from serving.tracing import Tracing
from tests.fakes.clock import FakeClock
from tests.fakes.collector import Collector, attributes

TRACE, SPAN = "80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1"
FAILED = Failure(StatusCode.UNAVAILABLE, "Redis is away")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    await collector.start()
    yield collector
    await collector.stop()


@pytest.fixture(params=["grpc", "http"])
def protocol(request: pytest.FixtureRequest, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in collector.environment(request.param).items():
        monkeypatch.setenv(name, value)
    return str(request.param)


def call(message: bytes = b"", trace: Headers = ()) -> Call:
    return Call(message, math.inf, Caller("test"), trace)


async def echo(calls: Sequence[Call]) -> Sequence[Reply]:
    steps = STEPS.get()
    if steps is not None:
        steps.append(Step("waiting", 10.0, 12.0))
    return [FAILED if call.message == b"bad" else call.message for call in calls]


class Bench:
    """A traced handler, and the collector it tells."""

    def __init__(self, protocol: str, **settings: Any) -> None:
        self.clock = FakeClock()
        self.tracing = Tracing(TracingSettings(tracing_exporter_protocol=protocol, **settings), self.clock)
        self.handler: PromptHandler = self.tracing.traced(
            echo, "the call", lambda call, _: {"bytes": len(call.message)}
        )


@pytest.fixture
async def bench(protocol: str) -> AsyncIterator[Bench]:
    bench = Bench(protocol)
    await bench.tracing.start()
    yield bench
    await bench.tracing.stop()


async def test_a_call_is_a_span_with_its_steps_inside(bench: Bench, collector: Collector) -> None:
    await bench.handler([call(b"abc")])

    step, whole = await collector.until_spans(2)
    assert (step.name, step.parent_span_id, step.trace_id) == ("waiting", whole.span_id, whole.trace_id)
    assert (step.start_time_unix_nano, step.end_time_unix_nano) == (10_000_000_000, 12_000_000_000)
    assert (whole.name, whole.parent_span_id) == ("the call", b"")
    assert whole.start_time_unix_nano == int(bench.clock.wall() * 1e9)
    assert attributes(whole.attributes) == {"bytes": 3, "weir.batch.calls": 1}


async def test_a_call_that_is_answered_later_is_a_span_then_unless_its_caller_has_gone(
    bench: Bench, collector: Collector
) -> None:
    loop = asyncio.get_running_loop()
    given, gone, failed = later = [loop.create_future() for _ in range(3)]

    async def answer_later(_calls: Sequence[Call]) -> Sequence[Reply | Later]:
        return [*later, b"now", b"not sampled"]

    handler = bench.tracing.traced_later(answer_later, "later", lambda call, _: {"bytes": len(call.message)})
    left_out = call(b"12345", (("traceparent", f"00-{TRACE}-{SPAN}-00"),))
    await handler([call(b"1"), call(b"12"), call(b"123"), call(b"1234"), left_out])
    gone.cancel()
    failed.set_exception(ValueError())
    given.set_result(b"x")

    spans = await collector.until_spans(2)
    assert sorted(attributes(span.attributes)["bytes"] for span in spans) == [1, 4]


async def test_every_call_of_a_batch_has_its_own(bench: Bench, collector: Collector) -> None:
    await bench.handler([call(b"abc"), call(b"d")])

    spans = await collector.until_spans(4)
    assert {span.trace_id for span in spans if span.name == "the call"} == {span.trace_id for span in spans}
    assert len({span.trace_id for span in spans}) == 2


async def test_a_failure_is_an_error(bench: Bench, collector: Collector) -> None:
    replies = await bench.handler([call(b"bad")])

    whole = (await collector.until_spans(2))[1]
    assert replies == [FAILED]
    assert (whole.status.code, whole.status.message) == (2, "Redis is away")


W3C = (("traceparent", f"00-{TRACE}-{SPAN}-01"),)
B3 = (("b3", f"{TRACE}-{SPAN}-1"),)
B3_MANY = (("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1"))


@pytest.mark.parametrize("headers", [W3C, B3, B3_MANY], ids=["W3C", "B3", "B3 in several"])
async def test_a_call_joins_its_callers_trace(bench: Bench, collector: Collector, headers: Headers) -> None:
    await bench.handler([call(trace=headers)])

    whole = (await collector.until_spans(2))[1]
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, SPAN)


async def test_a_trace_that_is_not_sampled_has_no_span(bench: Bench, collector: Collector) -> None:
    await bench.handler([call(trace=(("traceparent", f"00-{TRACE}-{SPAN}-00"),))])
    await bench.handler([call(b"abc")])

    await collector.until_spans(2)
    await bench.tracing.stop()
    assert len(collector.spans) == 2


async def test_headers_that_say_nothing_are_no_trace(bench: Bench, collector: Collector) -> None:
    await bench.handler([call(trace=(("traceparent", "nonsense"),))])

    whole = (await collector.until_spans(2))[1]
    assert whole.parent_span_id == b""


async def test_a_share_of_nothing_keeps_only_what_callers_sample(protocol: str, collector: Collector) -> None:
    bench = Bench(protocol, tracing_sampling_rate=0.0)
    await bench.tracing.start()
    await bench.handler([call()])
    await bench.handler([call(), call(trace=W3C)])

    await bench.tracing.stop()

    assert [span.trace_id.hex() for span in collector.spans] == [TRACE, TRACE]


async def test_spans_say_who_sends_them(protocol: str, collector: Collector) -> None:
    bench = Bench(protocol, tracing_service_namespace="edge", tracing_service_instance_id="a")
    await bench.tracing.start()
    await bench.handler([call()])

    await bench.tracing.stop()

    names = {
        "service.name": "RateLimit",
        "service.namespace": "edge",
        "service.instance.id": "a",
        "process.pid": os.getpid(),
    }
    assert names.items() <= collector.resource.items()


async def test_a_collector_that_is_away_holds_up_no_call_and_no_end(
    protocol: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    await collector.stop()
    monkeypatch.setattr("serving.tracing.STOP_SECONDS_MAX", 0.1)
    bench = Bench(protocol)
    await bench.tracing.start()

    async with asyncio.timeout(20):
        replies = [await bench.handler([call(b"abc")]) for _ in range(100)]
        await bench.tracing.stop()

    assert replies == [[b"abc"]] * 100


class Numbers:
    """A registry and the sink that exports it."""

    def __init__(self, protocol: str, *, interval: float = 0.02, mapper: Mapper | None = None) -> None:
        settings = TracingSettings(tracing_exporter_protocol=protocol)
        self.registry = Registry()
        names = Names(mapper, {"zone": "a"})
        self.sink = OtlpSink(
            interval, self.registry, names, metric_exporter(settings), resource(settings), SystemClock()
        )


async def test_metrics_are_totals_under_the_names_of_the_page(protocol: str, collector: Collector) -> None:
    numbers = Numbers(protocol)
    numbers.registry.counter("ratelimit.service.rate_limit.d.k.over_limit").add(3)
    numbers.registry.gauge("weir.queue.length", lambda: 2.0, method="M")
    numbers.registry.timer("ratelimit_server.M.response_time").observe(0.003, times=2)
    await numbers.sink.start()

    total = (await collector.until_metric("ratelimit_service_rate_limit_over_limit")).sum
    await numbers.sink.stop()

    gauge = collector.metrics["weir_queue_length"].gauge.data_points[0]
    times = collector.metrics["ratelimit_service_response_time_seconds"].histogram.data_points[0]
    assert (total.is_monotonic, total.aggregation_temporality, total.data_points[0].as_int) == (True, 2, 3)
    assert attributes(total.data_points[0].attributes) == {"zone": "a", "domain": "d", "key1": "k"}
    assert (gauge.as_double, attributes(gauge.attributes)) == (2, {"zone": "a", "method": "M"})
    assert (times.count, times.sum, sum(times.bucket_counts), times.HasField("max")) == (2, 0.006, 2, False)


async def test_stopping_exports_a_last_time(protocol: str, collector: Collector) -> None:
    numbers = Numbers(protocol, interval=3600)
    await numbers.sink.start()
    numbers.registry.counter("c").add(1)

    await numbers.sink.stop()

    assert collector.metrics["c"].sum.data_points[0].as_int == 1


async def test_what_a_mapper_drops_is_not_exported(protocol: str, collector: Collector, tmp_path: Any) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("mappings: [{match: gone*, action: drop}]")
    numbers = Numbers(protocol, interval=3600, mapper=read_mapper(str(path)))
    numbers.registry.counter("gone").add(1)
    numbers.registry.timer("gone_too").observe(1)
    numbers.registry.counter("c").add(1)
    await numbers.sink.start()

    await numbers.sink.stop()

    assert list(collector.metrics) == ["c"]


async def test_a_collector_that_takes_no_metrics_is_warned_about_once(
    protocol: str, collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.05" if protocol == "grpc" else "1")
    await collector.stop()
    numbers = Numbers(protocol)

    await numbers.sink.export()
    await numbers.sink.export()

    assert caplog.messages.count("metrics are not taken by OTLP") == 1


async def test_a_sink_that_never_started_stops(protocol: str, collector: Collector) -> None:
    await Numbers(protocol).sink.stop()

    assert collector.metrics == {}
