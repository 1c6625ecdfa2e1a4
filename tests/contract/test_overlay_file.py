"""The overlay file as it is followed: put over the rules in force, and over those to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ratelimit.app import make_overlay
from ratelimit.config.overlay_file import load
from ratelimit.errors import ConfigError
from ratelimit.parts import RulesWatch
from ratelimit.settings import ConfigSettings, HealthSettings
from ratelimit.source import Rules
from serving.health import Health
from serving.metrics import Registry
from serving.yaml_nodes import Bounds
from tests.fakes.rules import read_specs

RULES = "{domain: d, descriptors: [{key: a, rate_limit: {unit: hour, requests_per_unit: 1}}]}"
KEEPS = "overlays: [{domain: d, rate_limit: {on_deny: keep}}]"
BOUNDS = Bounds(1_000, 50)
BYTES_MAX = 200


class Source:
    """Brings one set of rules when it is started."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def start(self) -> None:
        await self._rules.apply(read_specs(RULES))

    async def stop(self) -> None:
        pass


@dataclass
class Bench:
    path: Path
    rules: Rules

    @property
    def is_kept(self) -> bool:
        return self.rules.current is not None and self.rules.current.domains["d"].rules()[0].modes.is_kept


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    path = tmp_path / "overlay.yaml"
    path.write_text(KEEPS)
    settings = ConfigSettings(
        config_overlay_path=str(path), config_poll_interval=0.02, config_watch="poll", config_bytes_max=BYTES_MAX
    )
    rules = Rules(settings, Registry())
    watch = RulesWatch(rules, Source(rules), make_overlay(settings, rules), Health(), HealthSettings())
    await watch.start()
    yield Bench(path, rules)
    await watch.stop()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - the file system tells nobody else
            await asyncio.sleep(0.01)


async def test_rules_come_into_force_under_their_overlay(bench: Bench) -> None:
    assert bench.is_kept


async def test_an_overlay_that_changes_is_laid_anew(bench: Bench) -> None:
    bench.path.write_text("overlays: []")

    await until(lambda: not bench.is_kept)

    assert bench.rules.generation == 2


async def test_a_bad_overlay_leaves_the_good_one(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.path.write_text("overlays: [")

    await until(lambda: str(bench.path) in caplog.text)

    assert (bench.is_kept, bench.rules.generation) == (True, 1)


async def test_a_layer_for_no_limit_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.path.write_text("overlays:\n- {domain: d, rate_limit: {on_deny: keep}}\n- {domain: other}\n")

    await until(lambda: bench.rules.generation == 2)

    assert f"{bench.path}:3: fits no limit" in caplog.messages


async def test_nothing_is_followed_where_there_is_no_overlay() -> None:
    settings = ConfigSettings()

    assert make_overlay(settings, Rules(settings, Registry())) is None


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "missing", BYTES_MAX, BOUNDS)

    assert [problem.message for problem in caught.value.problems] == ["cannot be read: No such file or directory"]


def test_a_file_above_the_bound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"#" * (BYTES_MAX + 1))

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "large", BYTES_MAX, BOUNDS)

    assert [problem.message for problem in caught.value.problems] == ["more than 200 bytes (CONFIG_BYTES_MAX)"]
