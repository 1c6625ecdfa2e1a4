"""A process to send signals to: `python -m tests.wire.replica TRANSPORT DELAY_SECONDS GRACE_SECONDS`.

Prints its port when it is ready. A message is a number of milliseconds to work for; a long one is told by
another line when the work begins.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import uvloop

from serving.calls import Call, Reply
from serving.lifecycle import Lifecycle
from tests.wire.transports import TRANSPORTS, build

LONG_MS = 100


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def work(calls: Sequence[Call]) -> Sequence[Reply]:
    milliseconds = max(int(call.message) for call in calls)
    if milliseconds >= LONG_MS:
        tell("working")
    # The work itself, as long as the call asks.
    await asyncio.sleep(milliseconds / 1000)
    return [b"done"] * len(calls)


async def main(transport: str, delay_seconds: float, grace_seconds: float) -> None:
    served = build(TRANSPORTS[transport], work, grace_seconds)
    lifecycle = Lifecycle([served.server], served.health, delay_seconds=delay_seconds, grace_seconds=grace_seconds)
    running = asyncio.create_task(lifecycle.run())
    await lifecycle.ready.wait()
    tell(str(served.server.port))
    await running


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
