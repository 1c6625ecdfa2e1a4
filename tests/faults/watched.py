"""`python -m ratelimit` that also says how many tasks it has: a line on its standard output at each SIGUSR1."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from ratelimit import settings
from ratelimit.app import serve


def tell() -> None:
    sys.stdout.write(f"{len(asyncio.all_tasks())}\n")
    sys.stdout.flush()


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    await serve(settings.load())


if __name__ == "__main__":
    uvloop.run(main())
