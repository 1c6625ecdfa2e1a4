from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from serving import profile
from serving.clock import SystemClock
from tests.fakes.clock import FakeClock

LOOKS_SECONDS = 0.03


@pytest.fixture
def busy_thread() -> Iterator[None]:
    """A thread with a stack to recognise, for as long as the test runs."""
    ended = threading.Event()

    def recognisable() -> None:
        ended.wait()

    thread = threading.Thread(target=recognisable, name="busy")
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.mark.usefixtures("busy_thread")
def test_a_profile_counts_the_stacks_of_other_threads() -> None:
    stacks = profile.sample(LOOKS_SECONDS, SystemClock(), threading.Event())

    (seen,) = [stack for stack in stacks if stack.startswith("busy;")]
    assert "recognisable" in seen
    assert stacks[seen] >= 1


@pytest.mark.usefixtures("busy_thread")
def test_beyond_the_bound_stacks_are_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "STACKS_MAX", 0)
    stacks = profile.sample(LOOKS_SECONDS, SystemClock(), threading.Event())

    assert list(stacks) == ["other"]


@pytest.mark.usefixtures("busy_thread")
def test_deep_stacks_lose_their_outermost_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "FRAMES_MAX", 2)
    stacks = profile.sample(LOOKS_SECONDS, SystemClock(), threading.Event())

    (seen,) = [stack for stack in stacks if stack.startswith("busy;")]
    assert seen == "busy;threading.Event.wait;threading.Condition.wait"


def test_a_profile_that_is_told_to_stop_stops() -> None:
    stopped = threading.Event()
    stopped.set()

    # This clock stands: only the event ends it.
    assert not profile.sample(1.0, FakeClock(), stopped)
