"""Spend the tokens of an answer as they come, out of blocks; and charge many callers at once, over one stream.

Serve the rules of this folder, with a token of your own:

    API_TOKEN=secret BACKEND_TYPE=memory RUNTIME_ROOT=examples RUNTIME_SUBDIRECTORY= RUNTIME_APPDIRECTORY=rules \
        RUNTIME_WATCH_ROOT=false USE_STATSD=false weir serve ratelimit

and run this in another terminal:

    python examples/spend.py localhost:8081 secret
"""

from __future__ import annotations

import asyncio
import sys

from ratelimit.client import LimiterClient, OverLimit


async def stream_an_answer(limits: LimiterClient, user: str) -> int:
    """Send an answer piece by piece, each paid for before it goes out; return how many went out."""
    pieces = 0
    async with limits.lease(user=user) as lease:
        try:
            for _ in range(1_000):
                await lease.spend(5)  # the tokens of the piece; most pieces ask nobody
                pieces += 1
        except OverLimit:
            pass
    return pieces


async def charge_many(limits: LimiterClient, users: int) -> int:
    """Charge many users at the same time; return how many could pay."""
    async with limits.exchange() as stream:
        answers = await asyncio.gather(*(stream.charge(20, user=f"user-{number}") for number in range(users)))
    return sum(answer.is_allowed for answer in answers)


async def main(target: str, token: str) -> None:
    """Do both."""
    async with LimiterClient(target, domain="llm", token=token, on_error="closed", timeout_seconds=2.0) as limits:
        print(f"{await stream_an_answer(limits, 'bob')} pieces sent")
        for limit in (await limits.check(0, user="bob")).limits:
            print(f"{limit.rule}: {limit.spent} spent of {limit.limit}")
        print(f"{await charge_many(limits, 200)} of 200 users could pay")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
