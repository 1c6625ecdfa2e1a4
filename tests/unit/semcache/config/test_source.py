from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from semcache.config.source import NamespaceSource
from semcache.errors import ConfigError
from semcache.settings import NamespaceSettings
from serving.metrics import Registry

GOOD = "namespaces:\n  - name: {name}\n    callers: [{{anyone: true, roles: [lookup]}}]\n"


@pytest.fixture(params=["auto", "poll"])
async def source(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NamespaceSource]:
    (tmp_path / "n.yaml").write_text(GOOD.format(name="a"))
    settings = NamespaceSettings(path=str(tmp_path / "n.yaml"), watch=request.param, poll_interval=0.05)
    source = NamespaceSource(settings, Registry())
    await source.start()
    yield source
    await source.stop()


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - files have no event
        await asyncio.sleep(0.01)


def names(source: NamespaceSource) -> list[str]:
    return [each.name for each in source.current.members]


async def test_an_edit_comes_into_force_and_is_told(source: NamespaceSource, tmp_path: Path) -> None:
    told: list[int] = []
    source.subscribe(lambda: told.append(source.generation))

    (tmp_path / "n.yaml").write_text(GOOD.format(name="b"))

    await until(lambda: names(source) == ["b"])
    assert told == [2]


async def test_a_file_that_is_swapped_is_read(source: NamespaceSource, tmp_path: Path) -> None:
    (tmp_path / "new").write_text(GOOD.format(name="b"))

    (tmp_path / "new").replace(tmp_path / "n.yaml")

    await until(lambda: names(source) == ["b"])


@pytest.mark.parametrize("text", ["namespaces: [{name: b}]", "{", ""])
async def test_a_bad_set_never_replaces_a_good_one(
    source: NamespaceSource, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "n.yaml").write_text(text)
    await until(lambda: "refused" in caplog.text)

    assert (names(source), source.generation) == (["a"], 1)
    (tmp_path / "n.yaml").write_text(GOOD.format(name="c"))
    await until(lambda: names(source) == ["c"])


async def test_a_file_that_goes_away_takes_nothing_with_it(
    source: NamespaceSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "n.yaml").unlink()
    await until(lambda: "cannot be read" in caplog.text)

    assert names(source) == ["a"]


async def test_a_first_set_with_a_problem_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "n.yaml").write_text("namespaces: [{name: b}]")

    with pytest.raises(ConfigError, match=r"n\.yaml:1: namespaces\[0\]\.callers: is missing"):
        await NamespaceSource(NamespaceSettings(path=str(tmp_path / "n.yaml")), Registry()).start()


async def test_a_path_is_needed() -> None:
    with pytest.raises(ConfigError, match="SEMCACHE_NAMESPACES_PATH"):
        await NamespaceSource(NamespaceSettings(), Registry()).start()
