from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import Registry, Sample
from serving.sinks.mapping import read_mapper
from serving.sinks.pace import PIECE
from serving.sinks.prometheus import Names, PrometheusPage, mapped

RULE = "ratelimit.service.rate_limit."


async def read(page: PrometheusPage) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Read the page as Prometheus does: series, then values by their labels."""
    body, _ = await page.render()
    read: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            # The client's own parser adds what it would have written.
            name = sample.name.removesuffix("_total")
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in read.setdefault(name, {}), "a series is told once"
            read[name][labels] = sample.value
    return read


async def test_a_rules_series_has_its_keys_as_labels() -> None:
    registry = Registry()
    registry.counter(f"{RULE}llm.user.over_limit").add(2)
    registry.counter(f"{RULE}llm.user.model.over_limit").add(3)

    page = await read(PrometheusPage(registry, Names()))

    assert page["ratelimit_service_rate_limit_over_limit"] == {
        (("domain", "llm"), ("key1", "user")): 2,
        (("domain", "llm"), ("key1", "user"), ("key2", "model")): 3,
    }


async def test_deeper_levels_are_added_up() -> None:
    registry = Registry()
    registry.counter(f"{RULE}d.a.b.c.over_limit").add(2)
    registry.counter(f"{RULE}d.a.b.x.over_limit").add(3)

    page = await read(PrometheusPage(registry, Names()))

    assert page["ratelimit_service_rate_limit_over_limit"] == {(("domain", "d"), ("key1", "a"), ("key2", "b")): 5}


async def test_what_no_rule_maps_goes_by_its_own_name_and_labels() -> None:
    registry = Registry()
    registry.counter("weir.calls", method="M").add(1)
    registry.gauge("weir.queue-length", lambda: 2.5)

    page = await read(PrometheusPage(registry, Names()))

    assert (page["weir_calls"], page["weir_queue_length"]) == ({(("method", "M"),): 1}, {(): 2.5})


async def test_values_of_labels_are_escaped() -> None:
    registry = Registry()
    registry.counter("c", rule='a"b\\c\nd').add(1)

    page = await read(PrometheusPage(registry, Names()))

    assert page["c"] == {(("rule", 'a"b\\c\nd'),): 1}


async def test_a_timer_is_a_histogram() -> None:
    registry = Registry()
    registry.timer("ratelimit_server.ShouldRateLimit.response_time").observe(0.003, times=2)

    page = await read(PrometheusPage(registry, Names()))

    name, method = "ratelimit_service_response_time_seconds", ("grpc_method", "ShouldRateLimit")
    assert (page[f"{name}_count"], page[f"{name}_sum"]) == ({(method,): 2}, {(method,): 0.006})
    assert page[f"{name}_bucket"][method, ("le", "0.0025")] == 0
    assert page[f"{name}_bucket"][method, ("le", "0.005")] == 2
    assert page[f"{name}_bucket"][method, ("le", "+Inf")] == 2


async def test_times_may_be_told_in_milliseconds() -> None:
    registry = Registry()
    registry.timer("t").observe(0.003)

    page = await read(PrometheusPage(registry, Names(), times_in_milliseconds=True))

    assert (page["t_sum"], page["t_bucket"][("le", "5"),]) == ({(): 3}, 1)


async def test_tags_are_labels_of_every_series() -> None:
    registry = Registry()
    registry.counter("c").add(1)
    registry.timer("t").observe(1)

    page = await read(PrometheusPage(registry, Names(tags={"my-zone": "a"})))

    assert (page["c"], page["t_count"]) == ({(("my_zone", "a"),): 1}, {(("my_zone", "a"),): 1})


async def test_rules_of_a_file_come_first(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("mappings: [{match: a.*, name: mine, labels: {what: $1}}, {match: gone*, action: drop}]")
    registry = Registry()
    registry.counter("a.b").add(1)
    registry.counter("gone").add(1)
    registry.timer("gone_too").observe(1)
    registry.counter("c").add(1)

    page = await read(PrometheusPage(registry, Names(read_mapper(str(path)))))

    assert {name: page[name] for name in page if name in {"mine", "c"} or name.startswith("gone")} == {
        "mine": {(("what", "b"),): 1},
        "c": {(): 1},
    }


async def test_the_process_tells_its_memory() -> None:
    page = await read(PrometheusPage(Registry(), Names()))

    assert page["process_resident_memory_bytes"][()] > 0


@pytest.mark.parametrize("series", [PIECE * 5])
async def test_calls_are_answered_while_a_long_page_is_made(series: int) -> None:
    registry, turns = Registry(), 0
    registry.add_source(lambda: (Sample(f"s{number}", 1) for number in range(series)))
    rendering = asyncio.create_task(PrometheusPage(registry, Names()).render())

    while not rendering.done():
        turns += 1
        await asyncio.sleep(0)

    # Once for each piece that is read, and for each that is written.
    assert turns >= 2 * series / PIECE


@pytest.mark.parametrize(
    ("name", "series", "labels"),
    [
        (
            "ratelimit.service.call.should_rate_limit.redis_error",
            "ratelimit_service_should_rate_limit_error",
            {"err_type": "redis_error"},
        ),
        ("ratelimit_server.M.total_requests", "ratelimit_service_total_requests", {"grpc_method": "M"}),
        ("ratelimit_server.M.response_time", "ratelimit_service_response_time_seconds", {"grpc_method": "M"}),
        ("ratelimit.service.config_load_success", "ratelimit_service_config_load_success", {}),
        (
            f"{RULE}10.0.0.1.k.over_limit",
            "ratelimit_service_rate_limit_over_limit",
            {"domain": "10_0_0_1", "key1": "k"},
        ),
        ("1st", "_1st", {}),
    ],
)
def test_a_name_is_mapped_as_the_reference_maps_it(name: str, series: str, labels: dict[str, str]) -> None:
    assert mapped(name) == (series, labels)
