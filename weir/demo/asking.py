"""What a gateway would do with a question: look it up, else ask the model and keep its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

from semcache.client import CacheClient, Completion, Found
from serving.clock import Clock

NAMESPACE = "demo"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and what became of it."""

    found: Found
    answer: str
    milliseconds: float
    tokens: int
    """What the model was paid; 0 for a hit."""


class Asking:
    """A cache before a gateway that speaks as OpenAI's chat endpoint does."""

    def __init__(self, cache: str, gateway: str, clock: Clock) -> None:
        self._cache = CacheClient(cache, namespace=NAMESPACE)
        self._url = f"{gateway}/v1/chat/completions"
        self._clock = clock

    async def close(self) -> None:
        """Close the connection to the cache."""
        await self._cache.close()

    async def ask(self, question: str, *, user: str, model: str, max_tokens: int) -> Asked:
        """Ask, the cache first.

        Raises:
            aiohttp.ClientError: neither has an answer.
        """
        started = self._clock.steady()
        scope: dict[str, Any] = {"tenant": user, "model": model, "max_tokens": str(max_tokens)}
        async with self._cache.fill(question, **scope) as fill:
            completion = fill.completion
            if completion is None:
                completion = await self._fetch(question, user, model, max_tokens)
                # A cache that was away is not offered anything.
                if fill.found.outcome == "miss":
                    await fill.store(completion)
        seconds = self._clock.steady() - started
        spent = 0 if fill.found.is_hit else completion.input_tokens + completion.output_tokens
        return Asked(fill.found, completion.text, seconds * 1000, spent)

    async def _fetch(self, question: str, user: str, model: str, max_tokens: int) -> Completion:
        body = {"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": question}]}
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.post(self._url, json=body, headers={"x-user": user}) as response,
        ):
            answer = await response.json()
        choice, usage = answer["choices"][0], answer["usage"]
        return Completion(
            choice["message"]["content"],
            choice["finish_reason"],
            model=answer["model"],
            input_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
        )
