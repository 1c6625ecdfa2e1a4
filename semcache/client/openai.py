"""A client of OpenAI's library that looks up before it asks: `client = cached(AsyncOpenAI(), cache)`.

    create(messages, …) ── lookup ──▶ hit: the kept answer, as the library would give it
                              └─────▶ miss: ask, keep, answer; equal questions of others wait meanwhile

1. What affects the answer is in the scope: model, tools, response format, and every other argument of the request as
   sampling, except those in `_NO_MATTER`.
2. Streams and several choices are passed through and not kept; everything but `chat.completions.create` is the
   client's own.
"""

from __future__ import annotations

import json
from typing import Any

from semcache.client.connection import CacheClient
from semcache.client.values import Completion

MEDIA_TYPE = "application/vnd.openai.chat.completion+json"

_NAMED = {"messages", "model", "tools", "response_format"}
# Of the transport and of bookkeeping: they change no answer.
_NO_MATTER = {"stream", "user", "metadata", "store", "timeout", "extra_headers", "safety_identifier", "service_tier"}


def cached(client: Any, cache: CacheClient, **scope: Any) -> Any:  # noqa: ANN401 - any client that is compatible
    """Return the client with a cache before its chat completions; `scope` as `CacheClient` takes it."""
    return _Over(client, chat=_Over(client.chat, completions=_Completions(client.chat.completions, cache, scope)))


class _Over:
    """An object with some of its attributes replaced."""

    def __init__(self, inner: Any, **own: Any) -> None:  # noqa: ANN401 - as above
        self._inner = inner
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._inner, name)


class _Completions(_Over):
    def __init__(self, inner: Any, cache: CacheClient, scope: dict[str, Any]) -> None:  # noqa: ANN401 - as above
        super().__init__(inner)
        self._cache = cache
        self._scope = scope

    async def create(self, **request: Any) -> Any:  # noqa: ANN401 - what the client returns
        if request.get("stream") or request.get("n", 1) != 1:
            return await self._inner.create(**request)
        sampling = {name: value for name, value in request.items() if name not in _NAMED | _NO_MATTER}
        scope = {
            "api_schema": "openai.chat",
            "model": request.get("model"),
            "tools": request.get("tools"),
            "response_format": request.get("response_format"),
            "sampling": sampling,
            **self._scope,
        }
        async with self._cache.fill(request["messages"], **scope) as fill:
            if fill.completion is not None:
                return _read(fill.completion)
            response = await self._inner.create(**request)
            if fill.found.outcome == "miss":
                await fill.store(_write(response))
            return response


def _write(response: Any) -> Completion:  # noqa: ANN401 - a ChatCompletion
    choice, usage = response.choices[0], response.usage
    calls = [call.model_dump() for call in choice.message.tool_calls or ()]
    return Completion(
        choice.message.content or "",
        choice.finish_reason,
        choice.message.role,
        response.model,
        json.dumps(calls) if calls else "",
        usage.prompt_tokens if usage else 0,
        usage.completion_tokens if usage else 0,
        body=response.model_dump_json().encode(),
        media_type=MEDIA_TYPE,
    )


def _read(completion: Completion) -> Any:  # noqa: ANN401 - as above
    from openai.types.chat import ChatCompletion  # noqa: PLC0415 - who calls this has the library

    if completion.media_type == MEDIA_TYPE:
        return ChatCompletion.model_validate_json(completion.body)
    message = {"role": "assistant", "content": completion.text}
    return ChatCompletion.model_validate({
        "id": "cached", "object": "chat.completion", "created": 0, "model": completion.model,
        "choices": [{"index": 0, "message": message, "finish_reason": completion.finish_reason}],
        "usage": {
            "prompt_tokens": completion.input_tokens, "completion_tokens": completion.output_tokens,
            "total_tokens": completion.input_tokens + completion.output_tokens,
        },
    })  # fmt: skip
