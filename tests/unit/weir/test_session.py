from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from weir.demo.child import ChildError
from weir.demo.session import command, race


async def test_a_race_ends_with_its_first_and_cancels_the_others() -> None:
    ended: list[str] = []

    async def first() -> None:
        await asyncio.sleep(0)

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("other")

    await race(first(), other())

    assert ended == ["other"]


async def test_a_race_raises_what_ended_it() -> None:
    async def first() -> None:
        raise ChildError("gone")

    with pytest.raises(ChildError, match="gone"):
        await race(first(), asyncio.Event().wait())


def test_a_command_is_shown_as_it_can_be_typed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    beside = command()
    (tmp_path / "weir").touch(mode=0o700)

    assert Path(beside).resolve() == Path(sys.executable).with_name("weir").resolve()
    assert command() == "weir"
