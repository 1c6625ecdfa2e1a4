"""A file that is followed, on a real file system."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from serving.following import Following, state_of

PATIENCE_SECONDS = 20.0


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - the file system tells nobody else
            await asyncio.sleep(0.01)


def following(path: Path, changed: Callable[[], Awaitable[object]]) -> Following:
    return Following(path, changed, poll_seconds=0.01, is_told=False)


async def test_who_fails_to_read_a_change_hears_of_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, seen = tmp_path / "file", list[str]()
    path.write_text("good")

    async def read() -> None:
        seen.append(path.read_text())
        if seen[-1] == "bad":
            raise ValueError(seen[-1])

    follower = following(path, read)
    await follower.start()
    path.write_text("bad")
    await until(lambda: f"following {path}" in caplog.text)
    path.write_text("better")
    await until(lambda: seen[-1] == "better")
    await follower.stop()

    assert seen == ["good", "bad", "better"]


async def test_a_file_that_never_rests_is_read_all_the_same(tmp_path: Path) -> None:
    path, reads = tmp_path / "file", 0
    path.write_text("0")

    async def read() -> None:
        nonlocal reads
        reads += 1

    async def write_on() -> None:
        number = 0
        while True:
            number += 1
            path.write_text("x" * number)
            await asyncio.sleep(0.001)

    follower = following(path, read)
    await follower.start()
    writing = asyncio.create_task(write_on())
    await until(lambda: reads == 2)
    writing.cancel()
    await follower.stop()

    assert reads >= 2


async def test_a_file_that_goes_has_changed(tmp_path: Path) -> None:
    path, seen = tmp_path / "file", list[bool]()
    path.write_text("here")

    async def look() -> None:
        seen.append(path.exists())

    follower = following(path, look)
    await follower.start()
    path.unlink()
    await until(lambda: len(seen) == 2)
    await follower.stop()

    assert (seen, state_of(path)) == ([True, False], "No such file or directory")
