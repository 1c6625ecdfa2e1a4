from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.fakes.clock import FakeClock
from weir.demo.child import START_TIMEOUT_SECONDS, Child, ChildError

# Processes of a few milliseconds each.
Start = Callable[..., Child]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Start]:
    made: list[Child] = []

    def make_child(script: str, **options: object) -> Child:
        made.append(Child("it", ["/bin/sh", "-c", script], tmp_path / "log", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make_child
    for child in made:
        await child.stop()


async def never() -> bool:
    return False


async def test_a_child_that_ends_before_it_is_ready_is_told_with_the_end_of_its_log(make: Start) -> None:
    child = make("seq 100; echo no such port >&2; exit 3")
    await child.start()

    with pytest.raises(ChildError, match=r"it ended with status 3:\n87\n(\d+\n){13}no such port$"):
        await child.wait_until(never)


async def test_a_child_that_takes_too_long_is_not_waited_for(make: Start) -> None:
    clock = FakeClock()
    child = make("exec sleep 60", clock=clock)
    await child.start()

    async def turn() -> bool:
        clock.advance(START_TIMEOUT_SECONDS + 1)
        return False

    with pytest.raises(ChildError, match="it was not ready after 30 s"):
        await child.wait_until(turn)


async def test_staying_ends_with_the_child(make: Start) -> None:
    child = make("exit 4")
    await child.start()

    with pytest.raises(ChildError, match="it ended with status 4"):
        await child.stay()


async def test_the_output_can_be_read_or_goes_to_the_log(make: Start) -> None:
    piped, logged = make("echo piped", is_piped=True), make("echo logged")
    await piped.start()
    await logged.start()

    line = await piped.output.readline()
    await logged.process.wait()

    assert line == b"piped\n"
    assert logged.tail() == "logged"
    with pytest.raises(ChildError, match="goes to its log"):
        _ = logged.output


async def test_the_environment_is_added_to_ours(make: Start) -> None:
    child = make('echo "$WEIR_TEST $HOME"', environment={"WEIR_TEST": "yes"})
    await child.start()
    await child.process.wait()

    assert child.tail().startswith("yes /")


async def test_a_child_that_will_not_end_is_made_to(make: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weir.demo.child.STOP_TIMEOUT_SECONDS", 0.05)
    child = make("trap '' TERM; echo ready; while :; do sleep 0.01; done", is_piped=True)
    await child.start()
    await child.output.readline()

    await asyncio.wait_for(child.stop(), 5)

    assert child.process.returncode == -9


async def test_stopping_what_never_started_or_ended_does_nothing(make: Start) -> None:
    ended, unstarted = make("exit 0"), make("exit 0")
    await ended.start()
    await ended.process.wait()

    await ended.stop()
    await unstarted.stop()

    assert ended.process.returncode == 0
    with pytest.raises(ChildError, match="it was not started"):
        _ = unstarted.process


async def test_a_command_that_cannot_be_executed_is_in_the_log(tmp_path: Path) -> None:
    child = Child("it", ["/no/such/command"], tmp_path / "log")
    await child.start()
    await child.process.wait()

    assert child.tail() == "/no/such/command cannot be executed: No such file or directory"
    assert child.process.returncode == 127
