"""A part that was never started, or whose start failed at once, can be stopped like any other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving.clock import SystemClock
from serving.following import Following
from serving.front import FrontServer
from serving.lifecycle import Part
from serving.metrics import Registry
from serving.redis_link import Link
from serving.redis_node import Bounds as RedisBounds
from serving.redis_subscription import Subscription
from serving.settings import GrpcSettings
from serving.workers import Bounds, Workers


async def nothing(*_: Any) -> Link:
    raise AssertionError


def workers() -> Workers:
    return Workers(["false"], {}, Bounds(2, 0.1, 0.1, 1.0), Registry(), SystemClock(), series_max=10)


PARTS = {
    "front": lambda: FrontServer(GrpcSettings(), [], SystemClock(), Registry()),
    "workers": workers,
    "a followed file": lambda: Following(Path("x"), nothing, poll_seconds=1.0, is_told=False),
    "subscription": lambda: Subscription(nothing, "c", print, RedisBounds(1.0, 3, 0.1, 10)),
}


@pytest.mark.parametrize("make", PARTS.values(), ids=PARTS.keys())
async def test_what_was_never_started_can_be_stopped(make: Any) -> None:
    part: Part = make()

    await part.stop()

    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_callers_that_the_front_remembers_are_bounded() -> None:
    server = FrontServer(GrpcSettings(), [], SystemClock(), Registry())

    peers = [server._caller(f"ipv4:127.0.0.1:{port}", "").peer for port in range(3_000)]

    assert peers[-1] == "ipv4:127.0.0.1:2999"
    assert len(server._callers) <= 1_024


def test_a_front_that_was_never_started_has_nobody_to_answer() -> None:
    server = FrontServer(GrpcSettings(), [], SystemClock(), Registry())

    server.answer(1, b"too early")

    assert server.port == 0
