from __future__ import annotations

import asyncio

import pytest

from weir.demo.child import ChildError
from weir.demo.session import race


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
