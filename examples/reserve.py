"""Hold tokens while a model answers, and spend what was used.

Serve the rules of this folder, with a token of your own:

    API_TOKEN=secret BACKEND_TYPE=memory RUNTIME_ROOT=examples RUNTIME_SUBDIRECTORY= RUNTIME_APPDIRECTORY=rules \
        RUNTIME_WATCH_ROOT=false USE_STATSD=false weir serve ratelimit

and run this in another terminal:

    python examples/reserve.py localhost:8081 secret
"""

from __future__ import annotations

import asyncio
import sys

from ratelimit.client import LimiterClient, OverLimit


async def chat(limits: LimiterClient, user: str, prompt: str) -> str:
    """Answer a prompt within a user's budget of tokens."""
    # An estimate: what the prompt has, and what the answer may have at most.
    estimate = len(prompt) // 4 + 100
    async with limits.reserve(estimate, user=user) as hold:
        answer = f"You said: {prompt}"  # the call of your model
        hold.settle(input=len(prompt) // 4, output=len(answer) // 4)
    return answer


async def main(target: str, token: str) -> None:
    """Chat until the budget is spent."""
    async with LimiterClient(target, domain="llm", token=token, on_error="closed") as limits:
        for number in range(20):
            try:
                await chat(limits, "alice", f"question {number} " * 40)
            except OverLimit as error:
                print(f"question {number}: {error}")
                break
        left = await limits.check(0, user="alice")
        for limit in left.limits:
            print(f"{limit.rule}: {limit.spent} spent, {limit.held} held, {limit.remaining} left of {limit.limit}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
