"""Rules from a folder: what is read, and how a change of it is seen."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest

from ratelimit.config.file_source import FileSource
from ratelimit.config.files import check, list_files, read_files
from ratelimit.errors import ConfigError, Problem
from ratelimit.settings import ConfigSettings
from tests.fakes.loaded_rules import LoadedRules

RULES = "{{domain: {}, descriptors: [{{key: k, rate_limit: {{unit: hour, requests_per_unit: 1}}}}]}}"

# Long: a test that needs it has not been told of the change.
NEVER = 3600.0


def write(folder: Path, *domains: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for domain in domains:
        (folder / f"{domain}.yaml").write_text(RULES.format(domain))


class Bench:
    """A source over a root, and what came of it."""

    def __init__(self, root: Path, **settings: Any) -> None:
        chosen = {"config_poll_interval": NEVER, "config_settle_time": 0.01, **settings}
        self.settings = ConfigSettings(runtime_root=str(root), runtime_appdirectory="config", **chosen)
        self.loaded = LoadedRules(self.settings)
        self.source = FileSource(self.settings, self.loaded.apply)

    async def __aenter__(self) -> Self:
        await self.source.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.source.stop()


@pytest.fixture(params=["told", "looking"])
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How changes are seen: told by the system, or looked for."""
    if request.param == "told":
        return {"config_watch": "auto"}
    return {"config_watch": "poll", "config_poll_interval": 0.02}


@pytest.fixture
async def files(tmp_path: Path, way: dict[str, Any]) -> AsyncIterator[Bench]:
    write(tmp_path / "config", "a")
    async with Bench(tmp_path, runtime_watch_root=False, **way) as bench:
        yield bench


async def test_rules_are_in_force_once_started(files: Bench) -> None:
    assert files.loaded.domains == {"a"}


async def test_a_file_that_appears_is_read(files: Bench, tmp_path: Path) -> None:
    write(tmp_path / "config", "b")

    await files.loaded.accepted("a", "b")


async def test_a_file_in_a_folder_that_appears_is_read(files: Bench, tmp_path: Path) -> None:
    write(tmp_path / "config" / "more", "b")
    await files.loaded.accepted("a", "b")

    write(tmp_path / "config" / "more", "c")

    await files.loaded.accepted("a", "b", "c")


async def test_a_file_that_goes_takes_its_rules_with_it(files: Bench, tmp_path: Path) -> None:
    write(tmp_path / "config", "b")
    await files.loaded.accepted("a", "b")

    (tmp_path / "config" / "a.yaml").unlink()

    await files.loaded.accepted("b")


async def test_a_folder_of_too_many_files_is_watched_until_they_are_fewer(tmp_path: Path, way: dict[str, Any]) -> None:
    write(tmp_path / "config", "a", "b")
    async with Bench(tmp_path, runtime_watch_root=False, config_files_max=2, **way) as files:
        refused = await files.loaded.outcome(1)
        (tmp_path / "config" / "b.yaml").unlink()

        await files.loaded.accepted("a")

    assert isinstance(refused, ConfigError)


async def test_a_file_that_is_replaced_is_read(files: Bench, tmp_path: Path) -> None:
    (tmp_path / "new").write_text(RULES.format("b"))

    (tmp_path / "new").rename(tmp_path / "config" / "a.yaml")

    await files.loaded.accepted("b")


async def test_a_file_of_another_mode_is_read_again(files: Bench, tmp_path: Path) -> None:
    before = len(files.loaded.outcomes)

    (tmp_path / "config" / "a.yaml").chmod(0o600)

    assert await files.loaded.outcome(before + 1) is None


async def test_a_broken_file_leaves_all_rules_and_is_named(files: Bench, tmp_path: Path) -> None:
    (tmp_path / "config" / "b.yaml").write_text("domain: [")

    error = await files.loaded.outcome(2)

    assert error is not None
    assert error.problems[0].file.endswith("b.yaml")
    assert files.loaded.domains == {"a"}


async def test_a_folder_that_goes_is_refused_and_waited_for(files: Bench, tmp_path: Path) -> None:
    (tmp_path / "config").rename(tmp_path / "gone")
    error = await files.loaded.outcome(2)
    kept = files.loaded.domains

    write(tmp_path / "config", "b")

    await files.loaded.accepted("b")
    assert (str(error), kept) == (f"{tmp_path / 'config'}: no such directory", {"a"})


def mount(root: Path, version: str, *domains: str) -> None:
    """Write a tree and swap the link to it, as Kubernetes does with a mounted ConfigMap."""
    write(root.parent / version / "config", *domains)
    (root.parent / "link").unlink(missing_ok=True)
    (root.parent / "link").symlink_to(root.parent / version)
    (root.parent / "link").rename(root)


@pytest.fixture
async def mounted(tmp_path: Path, way: dict[str, Any]) -> AsyncIterator[Bench]:
    mount(tmp_path / "current", "v1", "a")
    async with Bench(tmp_path / "current", runtime_watch_root=True, **way) as bench:
        yield bench


async def test_a_swap_of_the_root_is_one_change(mounted: Bench, tmp_path: Path) -> None:
    mount(tmp_path / "current", "v2", "b", "c")

    await mounted.loaded.accepted("b", "c")
    assert len(mounted.loaded.outcomes) == 2


async def test_below_a_watched_root_a_tree_under_construction_is_not_read(mounted: Bench, tmp_path: Path) -> None:
    write(tmp_path / "v1" / "config", "b")
    mount(tmp_path / "current", "v2", "c")

    await mounted.loaded.accepted("c")
    assert len(mounted.loaded.outcomes) == 2


async def test_a_mounted_config_map_is_read_once_for_each_file(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    write(folder / "..2026_01_01", "a")
    (folder / "..data").symlink_to("..2026_01_01")
    (folder / "a.yaml").symlink_to("..data/a.yaml")

    async with Bench(tmp_path, runtime_watch_root=True) as bench:
        write(folder / "..2026_01_02", "b")
        (folder / "..next").symlink_to("..2026_01_02")
        (folder / "..next").rename(folder / "..data")
        (folder / "b.yaml").symlink_to("..data/b.yaml")
        (folder / "a.yaml").unlink()

        await bench.loaded.accepted("b")


async def test_the_first_rules_may_be_bad(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        assert (str(bench.loaded.outcomes[0]), bench.loaded.domains) == (
            f"{tmp_path / 'config'}: no such directory", set(),
        )  # fmt: skip


async def test_a_source_that_fails_within_goes_on_watching(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "config", "a")
    bench = Bench(tmp_path, runtime_watch_root=False, config_watch="poll", config_poll_interval=0.02)
    apply, failures = bench.loaded.apply, [RuntimeError("within")]

    async def failing(news: Any) -> ConfigError | None:
        if len(bench.loaded.outcomes) == 1 and failures:
            raise failures.pop()
        return await apply(news)

    bench.source = FileSource(bench.settings, failing)
    async with bench:
        write(tmp_path / "config", "b")
        # Lost with the failure; the next change is not.
        while not caplog.records:
            await bench.source._watch.wait()
        write(tmp_path / "config", "c")

        await bench.loaded.accepted("a", "b", "c")
    assert "within" in caplog.text


async def test_without_the_systems_word_files_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchfiles.main.RustNotify", refuse)
    caplog.set_level(logging.WARNING)
    write(tmp_path / "config", "a")

    async with Bench(tmp_path, runtime_watch_root=False, config_poll_interval=0.02) as bench:
        write(tmp_path / "config", "b")
        await bench.loaded.accepted("a", "b")

    assert "the system does not tell of changes" in caplog.text


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path, "b", "a")
    write(tmp_path / "more", "c")

    assert [spec.domain for spec in read_files(tmp_path, ignore_dotfiles=False, merge=False)] == ["a", "b", "c"]


@pytest.mark.parametrize(("ignore", "domains"), [(False, [".hidden", "a"]), (True, ["a"])])
def test_files_that_begin_with_a_dot_may_be_left_out(tmp_path: Path, *, ignore: bool, domains: list[str]) -> None:
    write(tmp_path, "a", ".hidden")

    assert [spec.domain for spec in read_files(tmp_path, ignore_dotfiles=ignore, merge=False)] == domains


def test_a_link_to_a_folder_above_is_not_followed_for_ever(tmp_path: Path) -> None:
    write(tmp_path / "config", "a")
    (tmp_path / "config" / "loop").symlink_to(tmp_path / "config")

    listing = list_files(tmp_path / "config", ignore_dotfiles=False, files_max=10)

    assert [path.name for path in listing.files] == ["a.yaml"]


def test_pipes_and_links_that_lead_nowhere_are_no_files(tmp_path: Path) -> None:
    write(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")

    problems = check(tmp_path, merge=False)

    assert problems == [Problem(str(tmp_path / "nowhere"), 0, "error loading config file: No such file or directory")]


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a")
    listing = list_files(tmp_path, ignore_dotfiles=False, files_max=10)
    (tmp_path / "a.yaml").unlink()
    os.mkfifo(tmp_path / "a.yaml")
    # As if it had been replaced between listing and opening.
    monkeypatch.setattr("ratelimit.config.files.list_files", lambda *_, **__: listing)

    problems = check(tmp_path, merge=False)

    assert problems == [Problem(str(tmp_path / "a.yaml"), 0, "error loading config file: not a regular file")]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "config", "a")

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # Root may read everything, and tests run as root too.
    monkeypatch.setattr("os.scandir", refuse)

    with pytest.raises(ConfigError) as raised:
        list_files(tmp_path / "config", ignore_dotfiles=False, files_max=10)

    assert str(raised.value) == f"{tmp_path / 'config'}: cannot be read: Permission denied"


@pytest.mark.parametrize("more", [".", "more"], ids=["files", "folders"])
def test_too_many_files_and_folders_are_refused(tmp_path: Path, more: str) -> None:
    write(tmp_path / "config", "a", "b")
    write(tmp_path / "config" / more, "c")

    with pytest.raises(ConfigError, match=r"more than 3 files and folders \(CONFIG_FILES_MAX\)"):
        list_files(tmp_path / "config", ignore_dotfiles=False, files_max=3)


async def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "config", "a", "b")

    async with Bench(tmp_path, config_bytes_max=100) as bench:
        assert "more than CONFIG_BYTES_MAX in all files together" in str(bench.loaded.outcomes[0])


def test_every_problem_of_every_file_is_named_in_order(tmp_path: Path) -> None:
    write(tmp_path, "b")
    (tmp_path / "a.yaml").write_text("domain: b\nnonsense: 1\n")
    (tmp_path / "c.yaml").write_text("domain: c\ndescriptors:\n  - key: ''\n")

    problems = [str(problem).removeprefix(f"{tmp_path}/") for problem in check(tmp_path, merge=False)]

    assert [problem.split(": ")[0] for problem in problems] == ["a.yaml:2", "b.yaml:1", "c.yaml:3"]


async def test_files_that_never_stand_still_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "config", "a")
    bench = Bench(tmp_path, runtime_watch_root=False, config_watch="poll", config_poll_interval=0.02)
    turns = iter(range(1_000_000))
    async with bench:
        monkeypatch.setattr(bench.source, "_fingerprint", lambda: ((str(next(turns)),),))
        write(tmp_path / "config", "b")

        await bench.loaded.accepted("a", "b")


def test_a_source_that_never_started_stops(tmp_path: Path) -> None:
    asyncio.run(Bench(tmp_path).source.stop())


async def test_a_folder_that_cannot_be_looked_into_is_a_state_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "config", "a")
    (tmp_path / "config" / "b.yaml").symlink_to(tmp_path / "gone.yaml")
    (tmp_path / "gone.yaml").write_text(RULES.format("b"))

    async with Bench(tmp_path, runtime_watch_root=False, config_poll_interval=0.02) as bench:
        (tmp_path / "gone.yaml").unlink()

        error = await bench.loaded.outcome(2)

    assert "b.yaml: error loading config file: No such file or directory" in str(error)
