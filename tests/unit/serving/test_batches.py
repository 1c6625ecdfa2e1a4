from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any

import pytest

from serving.batches import Batches
from serving.calls import Call, Caller, Failure, Reply, StatusCode
from serving.metrics import Registry
from tests.fakes.clock import FakeClock

FULL = StatusCode.RESOURCE_EXHAUSTED


class Gate:
    """A handler that echoes, notes what it was given, and waits while it is shut."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.batches: list[list[bytes]] = []
        self.at_work = 0
        self.most_at_work = 0
        self._opened = asyncio.Event()
        if is_open:
            self.open()

    def open(self) -> None:
        self._opened.set()

    async def __call__(self, calls: Sequence[Call]) -> Sequence[Reply]:
        self.batches.append([call.message for call in calls])
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        await self._opened.wait()
        self.at_work -= 1
        return [call.message for call in calls]


def _batches(handler: Any, clock: FakeClock | None = None, **options: Any) -> tuple[Batches, Registry]:
    registry = Registry()
    bounds = {"calls_max": 100, "batch_max": 10, "in_flight_max": 1, **options}
    return Batches(handler, clock or FakeClock(), registry, **bounds), registry


def _call(message: bytes, *, peer: str = "a", deadline: float = math.inf) -> Call:
    return Call(message, deadline, Caller(peer))


def _values(registry: Registry) -> dict[str, float]:
    return {sample.name.removeprefix("weir."): sample.value for sample in registry.samples()}


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _asked(batches: Batches, *calls: Call) -> list[asyncio.Task[Reply]]:
    tasks = [asyncio.create_task(batches.ask(call)) for call in calls]
    await _turns()
    return tasks


async def test_a_lone_call_is_answered_without_waiting_for_others() -> None:
    batches, _ = _batches(Gate())
    (task,) = await _asked(batches, _call(b"1"))

    assert task.result() == b"1"


async def test_calls_that_are_there_together_go_together() -> None:
    gate = Gate()
    batches, _ = _batches(gate)
    replies = await asyncio.gather(*(batches.ask(_call(b"%d" % number)) for number in range(3)))

    assert (replies, gate.batches) == ([b"0", b"1", b"2"], [[b"0", b"1", b"2"]])


async def test_calls_gather_while_the_handler_is_busy() -> None:
    gate = Gate(is_open=False)
    batches, _ = _batches(gate)
    first = await _asked(batches, _call(b"1"))
    rest = await _asked(batches, _call(b"2"), _call(b"3"))
    gate.open()
    await asyncio.gather(*first, *rest)

    assert gate.batches == [[b"1"], [b"2", b"3"]]


async def test_a_batch_is_capped() -> None:
    gate = Gate()
    batches, _ = _batches(gate, batch_max=2)
    await asyncio.gather(*(batches.ask(_call(b"%d" % number)) for number in range(5)))

    assert [len(batch) for batch in gate.batches] == [2, 2, 1]


async def test_runs_are_capped() -> None:
    gate = Gate(is_open=False)
    batches, registry = _batches(gate, batch_max=1, in_flight_max=2)
    tasks = await _asked(batches, *(_call(b"%d" % number) for number in range(5)))
    seen = _values(registry)
    gate.open()
    await asyncio.gather(*tasks)

    assert gate.most_at_work == 2
    assert (seen["batch.in_flight"], seen["queue.length"]) == (2, 3)


async def test_a_call_that_comes_as_the_last_run_ends_is_answered() -> None:
    batches, registry = _batches(Gate())
    for number in range(20):
        task = asyncio.create_task(batches.ask(_call(b"1")))
        await _turns(number % 5)
        assert await batches.ask(_call(b"2")) == b"2"
        assert await task == b"1"

    assert _values(registry)["batch.in_flight"] == 0


async def test_beyond_the_bound_a_call_is_refused_at_once() -> None:
    gate = Gate(is_open=False)
    batches, registry = _batches(gate, calls_max=2)
    await _asked(batches, _call(b"working"))
    await _asked(batches, _call(b"1"), _call(b"2"))
    (refused,) = await _asked(batches, _call(b"3"))

    assert refused.result() == Failure(FULL, "too many calls are waiting")
    assert _values(registry)["calls.rejected"] == 1
    gate.open()


async def test_at_the_bound_the_noisy_peer_loses_and_the_quiet_one_gets_in() -> None:
    gate = Gate(is_open=False)
    batches, _ = _batches(gate, calls_max=2)
    await _asked(batches, _call(b"working"))
    noisy = await _asked(batches, _call(b"1", peer="noisy"), _call(b"2", peer="noisy"))
    (quiet,) = await _asked(batches, _call(b"3", peer="quiet"))
    gate.open()

    assert [await task for task in (*noisy, quiet)] == [b"1", Failure(FULL, "too many calls are waiting"), b"3"]


async def test_peers_take_turns() -> None:
    gate = Gate(is_open=False)
    batches, _ = _batches(gate, batch_max=2)
    await _asked(batches, _call(b"working"))
    calls = [_call(b"n%d" % number, peer="noisy") for number in range(5)]
    tasks = await _asked(batches, *calls, _call(b"q", peer="quiet"))
    gate.open()
    await asyncio.gather(*tasks)

    assert gate.batches[1] == [b"n0", b"q"]


async def test_a_call_that_expired_in_the_queue_does_not_reach_the_handler() -> None:
    gate, clock = Gate(is_open=False), FakeClock()
    batches, registry = _batches(gate, clock)
    await _asked(batches, _call(b"working"))
    (late, early) = await _asked(
        batches, _call(b"late", deadline=clock.steady() + 1), _call(b"early", deadline=clock.steady() + 3)
    )
    clock.advance(2)
    gate.open()
    reply = await late

    assert isinstance(reply, Failure)
    assert reply.status == StatusCode.DEADLINE_EXCEEDED
    assert (await early, gate.batches[1:]) == (b"early", [[b"early"]])
    assert _values(registry)["calls.expired"] == 1


async def test_a_cancelled_call_leaves_the_queue() -> None:
    gate = Gate(is_open=False)
    batches, registry = _batches(gate)
    await _asked(batches, _call(b"working"))
    (gone, stays) = await _asked(batches, _call(b"gone"), _call(b"stays"))
    gone.cancel()
    await _turns()
    waiting = _values(registry)["queue.length"]
    gate.open()
    await stays

    assert (waiting, gate.batches[1:]) == (1, [[b"stays"]])
    assert _values(registry)["calls.cancelled"] == 1


async def test_a_call_cancelled_in_the_moment_it_is_taken_does_not_reach_the_handler() -> None:
    gate = Gate()
    batches, _ = _batches(gate)
    task = asyncio.create_task(batches.ask(_call(b"gone")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _turns()

    assert gate.batches == []


async def test_a_call_cancelled_under_way_does_not_hurt_its_batch() -> None:
    gate = Gate(is_open=False)
    batches, _ = _batches(gate)
    (gone, stays) = await _asked(batches, _call(b"gone"), _call(b"stays"))
    gone.cancel()
    await _turns()
    gate.open()

    assert await stays == b"stays"
    assert gate.batches == [[b"gone", b"stays"]]


async def _raise(_calls: Sequence[Call]) -> Sequence[Reply]:
    raise ZeroDivisionError


async def _miscount(calls: Sequence[Call]) -> Sequence[Reply]:
    return [call.message for call in calls][1:]


async def _cancel(_calls: Sequence[Call]) -> Sequence[Reply]:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future
    return []


@pytest.mark.parametrize("broken", [_raise, _miscount, _cancel], ids=["raises", "miscounts", "cancels itself"])
async def test_a_broken_handler_fails_its_batch_and_nothing_else(broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    handlers = [broken, Gate()]

    async def handler(calls: Sequence[Call]) -> Sequence[Reply]:
        return await handlers.pop(0)(calls)

    batches, registry = _batches(handler)
    failed = await asyncio.gather(batches.ask(_call(b"1")), batches.ask(_call(b"2")))

    assert failed == [Failure(StatusCode.INTERNAL, "internal error")] * 2
    assert await batches.ask(_call(b"3")) == b"3"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert _values(registry)["calls.failed"] == 2


async def test_stopping_ends_what_still_runs() -> None:
    gate = Gate(is_open=False)
    batches, registry = _batches(gate)
    (task,) = await _asked(batches, _call(b"1"))
    await batches.stop()

    assert await task == Failure(StatusCode.INTERNAL, "internal error")
    assert _values(registry)["batch.in_flight"] == 0


async def test_batches_and_their_calls_are_counted_by_method() -> None:
    batches, registry = _batches(Gate(), method="ShouldRateLimit")
    await asyncio.gather(batches.ask(_call(b"1")), batches.ask(_call(b"2")))

    samples = {sample.name: (sample.value, sample.labels) for sample in registry.samples()}
    assert samples["weir.batch.calls"] == (2, {"method": "ShouldRateLimit"})
    assert samples["weir.batch.total"] == (1, {"method": "ShouldRateLimit"})


class Postponing:
    """A handler whose replies come when they are made to."""

    def __init__(self) -> None:
        self.replies: list[asyncio.Future[Reply]] = []

    async def __call__(self, calls: Sequence[Call]) -> Sequence[asyncio.Future[Reply]]:
        made = [asyncio.get_running_loop().create_future() for _ in calls]
        self.replies += made
        return made


async def test_a_reply_that_comes_later_does_not_hold_the_others() -> None:
    handler = Postponing()
    batches, _ = _batches(handler)
    first, second = (asyncio.create_task(batches.ask(_call(message))) for message in (b"1", b"2"))
    await _turns()

    handler.replies[1].set_result(b"second")

    assert await second == b"second"
    assert not first.done()
    handler.replies[0].set_result(b"first")
    assert await first == b"first"


async def test_a_caller_that_gives_up_cancels_what_it_waited_for() -> None:
    handler = Postponing()
    batches, registry = _batches(handler)
    asking = asyncio.create_task(batches.ask(_call(b"1")))
    await _turns()

    asking.cancel()
    await _turns()

    assert handler.replies[0].cancelled()
    assert _values(registry)["calls.cancelled"] == 1


async def test_a_later_reply_that_fails_fails_its_call_alone(caplog: pytest.LogCaptureFixture) -> None:
    handler = Postponing()
    batches, registry = _batches(handler)
    asking = asyncio.create_task(batches.ask(_call(b"1")))
    await _turns()

    handler.replies[0].set_exception(ValueError("broken"))

    assert await asking == Failure(StatusCode.INTERNAL, "internal error")
    assert _values(registry)["calls.failed"] == 1
    assert "answers later" in caplog.text


async def test_stopping_ends_what_is_answered_later() -> None:
    handler = Postponing()
    batches, _ = _batches(handler)
    asking = asyncio.create_task(batches.ask(_call(b"1")))
    await _turns()

    await batches.stop()

    assert await asking == Failure(StatusCode.CANCELLED, "no longer waited for")


async def test_a_reply_that_would_come_later_to_a_caller_who_has_gone_is_not_waited_for() -> None:
    gate, later = Gate(is_open=False), asyncio.get_running_loop().create_future()

    async def answer_later(calls: Sequence[Call]) -> Sequence[Any]:
        await gate(calls)
        return [later]

    batches, _ = _batches(answer_later)
    asking = asyncio.create_task(batches.ask(_call(b"1")))
    await _turns()
    asking.cancel()
    await _turns()
    gate.open()
    await _turns()

    assert later.cancelled()
