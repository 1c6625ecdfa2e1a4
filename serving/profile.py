"""Where the time goes: stacks of every thread, sampled on request.

    main;run;_run_once;_on_request;decode 212
    main;run;_run_once;select 88

One line per stack and how often it was seen, outermost first: what flame graph tools read. A
thread of its own looks, so that a busy or stuck event loop is seen and not waited for.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from types import FrameType

from aiohttp import web

from serving.clock import Clock
from serving.http import Page

# Longer and more often than this, looking would be felt: 200 looks a second cost about 1 % of a core.
SECONDS_MAX = 60.0
SECONDS_DEFAULT = 5.0
INTERVAL_SECONDS = 0.005

# Stacks told apart; further ones are counted as one.
STACKS_MAX = 10_000
FRAMES_MAX = 128


def profile_page(clock: Clock) -> Page:
    """Return the page: `?seconds=5` samples for so long (400 beyond 60); 429 while another one is under way."""
    lock = asyncio.Lock()

    async def answer(request: web.BaseRequest) -> web.Response:
        seconds = _seconds(request.query.get("seconds", ""))
        if seconds is None:
            return web.Response(status=400, text=f"seconds must be a number above 0, {SECONDS_MAX:g} at most\n")
        if lock.locked():
            return web.Response(status=429, text="another profile is under way\n")
        async with lock:
            return web.Response(text=await _sampled(seconds, clock))

    return answer


async def _sampled(seconds: float, clock: Clock) -> str:
    stopped = threading.Event()
    try:
        stacks = await asyncio.to_thread(sample, seconds, clock, stopped)
    finally:
        # The client may have gone: the thread must not go on for nobody.
        stopped.set()
    return "".join(f"{stack} {count}\n" for stack, count in stacks.most_common())


def sample(seconds: float, clock: Clock, stopped: threading.Event) -> Counter[str]:
    """Look at all other threads for so long, or until told to stop, and count their stacks."""
    own = threading.get_ident()
    stacks: Counter[str] = Counter()
    end = clock.steady() + seconds
    while clock.steady() < end and not stopped.wait(INTERVAL_SECONDS):
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the documented way to see other threads
            if ident != own:
                stack = f"{names.get(ident, ident)};{_stack(frame)}"
                stacks[stack if stack in stacks or len(stacks) < STACKS_MAX else "other"] += 1
    return stacks


def _stack(frame: FrameType | None) -> str:
    names: list[str] = []
    while frame is not None and len(names) < FRAMES_MAX:
        code = frame.f_code
        names.append(f"{frame.f_globals.get('__name__', '?')}.{code.co_qualname}")
        frame = frame.f_back
    return ";".join(reversed(names))


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text or SECONDS_DEFAULT)
    except ValueError:
        return None
    return seconds if 0 < seconds <= SECONDS_MAX else None
