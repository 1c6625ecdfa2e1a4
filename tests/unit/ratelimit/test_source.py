from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from ratelimit.errors import ConfigError, Problem
from ratelimit.settings import ConfigSettings
from ratelimit.source import Rules, count
from ratelimit.specs import DescriptorSpec, DomainSpec
from serving.metrics import Registry
from tests.fakes.rules import HERE, limit, node

BAD = [DomainSpec(HERE, "")]


def domain(name: str, *nodes: DescriptorSpec) -> DomainSpec:
    return DomainSpec(HERE, name, nodes)


def counts(registry: Registry) -> tuple[float, float]:
    found = {sample.name: sample.value for sample in registry.samples()}
    return found["ratelimit.service.config_load_success"], found["ratelimit.service.config_load_error"]


async def test_nothing_is_in_force_at_first() -> None:
    rules = Rules(ConfigSettings(), Registry())

    assert (rules.current, rules.generation, rules.has_domains) == (None, 0, False)


async def test_a_good_set_comes_into_force_as_a_new_generation() -> None:
    registry = Registry()
    rules = Rules(ConfigSettings(), registry)

    error = await rules.apply([domain("d", limit("a"))])

    assert (error, rules.generation, rules.has_domains, counts(registry)) == (None, 1, True, (1, 0))


@pytest.mark.parametrize("bad", [BAD, ConfigError([Problem("f", 1, "broken")])], ids=["specs", "no specs"])
async def test_a_bad_set_changes_nothing(bad: Sequence[DomainSpec] | ConfigError) -> None:
    registry = Registry()
    rules = Rules(ConfigSettings(), registry)
    await rules.apply([domain("d", limit("a"))])
    before = (rules.current, rules.modes, rules.generation)

    error = await rules.apply(bad)

    assert (bool(error), (rules.current, rules.modes, rules.generation), counts(registry)) == (True, before, (1, 1))


async def test_a_set_without_domains_is_good_and_has_none() -> None:
    rules = Rules(ConfigSettings(), Registry())

    await rules.apply([])

    assert (rules.current is None, rules.has_domains) == (False, False)


async def test_modes_are_read_again_with_each_good_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Rules(ConfigSettings(), Registry())
    monkeypatch.setenv("SHADOW_MODE", "true")

    await rules.apply(BAD)
    after_bad = rules.modes.shadow_mode
    await rules.apply([])

    assert (after_bad, rules.modes.shadow_mode) == (False, True)


async def test_modes_that_cannot_be_read_refuse_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Rules(ConfigSettings(), Registry())
    monkeypatch.setenv("QUOTA_MODE", "perhaps")

    error = await rules.apply([])

    assert (rules.current, "environment: QUOTA_MODE" in str(error)) == (None, True)


async def test_domains_are_merged_where_the_settings_say_so() -> None:
    rules = Rules(ConfigSettings(merge_domain_config=True), Registry())

    assert await rules.apply([domain("d", limit("a")), domain("d", limit("b"))]) is None


async def test_a_set_of_too_many_rules_is_refused() -> None:
    rules = Rules(ConfigSettings(config_rules_max=3), Registry())

    at_most = await rules.apply([domain("d", node("a", "", limit("b"), limit("c")))])
    above = await rules.apply([domain("d", node("a", "", limit("b"), limit("c"), limit("d")))])

    assert (at_most, str(above)) == (None, "rules.yaml: more than 3 descriptors in all (CONFIG_RULES_MAX)")


async def test_subscribers_hear_of_good_sets_only() -> None:
    rules = Rules(ConfigSettings(), Registry())
    heard: list[int] = []
    rules.subscribe(lambda: heard.append(rules.generation))

    await rules.apply(BAD)
    await rules.apply([])

    assert heard == [1]


async def test_every_problem_is_logged_up_to_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    rules = Rules(ConfigSettings(config_problems_logged_max=2), Registry())

    await rules.apply(BAD * 4)

    assert caplog.messages == [
        "Error loading new configuration: rules.yaml:1: config file cannot have empty domain",
        "Error loading new configuration: rules.yaml:1: config file cannot have empty domain",
        "Error loading new configuration: and 2 more problems",
    ]


async def test_the_same_problems_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rules = Rules(ConfigSettings(), Registry())
    await rules.apply(BAD)
    caplog.clear()

    await rules.apply(BAD)

    assert caplog.messages == ["Error loading new configuration: refused again, for the same 1 problems"]


async def test_a_good_set_is_told_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    await Rules(ConfigSettings(), Registry()).apply([domain("d", limit("a"))])

    assert caplog.messages == ["rules loaded: 1 domains, generation 1"]


def test_counting_stops_above_the_bound() -> None:
    deep = domain("d", node("a", "", node("b", "", limit("c"))))

    assert (count([deep], 10), count([deep] * 1_000, 3)) == (3, 4)
