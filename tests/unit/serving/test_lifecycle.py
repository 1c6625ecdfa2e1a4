from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence

import pytest

from serving.health import Health
from serving.lifecycle import Lifecycle

FOREVER = 3600.0


class Part:
    """Notes what happens to it in a list that all parts of a test share."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name = name
        self._log = log

    async def start(self) -> None:
        self._log.append(f"start {self._name}")

    async def stop(self) -> None:
        self._log.append(f"stop {self._name}")


class Stuck(Part):
    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__(name, log)
        self.begun = asyncio.Event()

    async def start(self) -> None:
        await super().start()
        self.begun.set()
        await asyncio.Event().wait()


class Unable(Part):
    async def start(self) -> None:
        await super().start()
        raise OSError("address in use")


class Clinging(Part):
    async def stop(self) -> None:
        await super().stop()
        raise ValueError("no")


def _lifecycle(parts: Sequence[Part], health: Health | None = None, delay_seconds: float = 0.0) -> Lifecycle:
    return Lifecycle(parts, health or Health(), delay_seconds=delay_seconds, grace_seconds=1.0)


async def test_parts_start_in_order_and_stop_in_the_opposite_one() -> None:
    log: list[str] = []
    lifecycle = _lifecycle([Part("store", log), Part("listener", log)])
    running = asyncio.create_task(lifecycle.run())
    await lifecycle.ready.wait()
    lifecycle.shut_down()
    await running

    assert log == ["start store", "start listener", "stop listener", "stop store"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_says_not_serving_at_once_and_parts_go_on_for_the_delay(number: signal.Signals) -> None:
    log: list[str] = []
    health = Health()
    lifecycle = _lifecycle([Part("listener", log)], health, FOREVER)
    running = asyncio.create_task(lifecycle.run())
    await lifecycle.ready.wait()
    was_serving = health.is_serving
    changes = health.changes()
    await anext(changes)
    os.kill(os.getpid(), number)
    is_serving = await anext(changes)
    os.kill(os.getpid(), number)
    log.append("second signal")
    await running

    assert (was_serving, is_serving) == (True, False)
    assert log == ["start listener", "second signal", "stop listener"]


async def test_a_part_that_cannot_start_is_stopped_with_those_before_it_and_its_error_goes_up() -> None:
    log: list[str] = []
    lifecycle = _lifecycle([Part("store", log), Unable("listener", log), Part("never", log)])
    with pytest.raises(OSError, match="address in use"):
        await lifecycle.run()

    assert log == ["start store", "start listener", "stop listener", "stop store"]


async def test_a_signal_during_the_start_cuts_it_short() -> None:
    log: list[str] = []
    stuck = Stuck("store", log)
    lifecycle = _lifecycle([stuck, Part("never", log)], delay_seconds=FOREVER)
    running = asyncio.create_task(lifecycle.run())
    await stuck.begun.wait()
    lifecycle.shut_down()
    await running

    assert log == ["start store", "stop store"]
    assert not lifecycle.ready.is_set()


async def test_a_lifecycle_that_is_cancelled_at_its_start_stops_what_began() -> None:
    log: list[str] = []
    stuck = Stuck("store", log)
    running = asyncio.create_task(_lifecycle([stuck]).run())
    await stuck.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert log == ["start store", "stop store"]


async def test_a_part_that_does_not_stop_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    lifecycle = _lifecycle([Part("store", log), Clinging("listener", log)])
    running = asyncio.create_task(lifecycle.run())
    await lifecycle.ready.wait()
    lifecycle.shut_down()
    await running

    assert log[-1] == "stop store"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "Clinging did not stop")
    ]


async def test_health_watches_end_before_parts_stop() -> None:
    health = Health()
    lifecycle = _lifecycle([Part("listener", [])], health)
    running = asyncio.create_task(lifecycle.run())
    await lifecycle.ready.wait()
    lifecycle.shut_down()
    await running

    assert [is_serving async for is_serving in health.changes()] == []
