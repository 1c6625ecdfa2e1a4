"""Chat completions of OpenAI's library as questions to the cache, and kept answers as what the library would give.

    request ──▶ scope and messages      response, or the chunks of a stream ──▶ Completion ──▶ response, or chunks

1. What affects the answer is in the scope: model, tools, response format, and every other argument of the request as
   sampling, except those in `_NO_MATTER`. Whether it is streamed is none of them: either serves the other.
2. A stream is an answer once it said why it ended; what was cut before is none.
3. Objects are built as the library builds its own, without validating: providers take liberties with its types.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from semcache.client.values import Completion

MEDIA_TYPE = "application/vnd.openai.chat.completion+json"

_NAMED = {"messages", "model", "tools", "response_format"}
# Of the transport and of bookkeeping: they change no answer.
_NO_MATTER = {
    *("stream", "stream_options", "user", "metadata", "store", "timeout", "extra_headers", "safety_identifier"),
    *("service_tier", "prompt_cache_key", "prompt_cache_retention"),
    "n",  # of which only one is asked for here
}
# The library's ways to say that an argument is not given.
_ABSENT = {"NotGiven", "Omit"}


def is_asked(request: Mapping[str, Any]) -> bool:
    """Return whether the cache can answer a request: not where several answers are wanted."""
    return _given(request).get("n") in {None, 1}


def scope_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be equal for an answer to be shared."""
    given = _given(request)
    return {
        "api_schema": "openai.chat",
        "model": given.get("model"),
        "tools": given.get("tools"),
        "response_format": given.get("response_format"),
        "sampling": {name: value for name, value in given.items() if name not in _NAMED | _NO_MATTER},
    }


def wants_stream(request: Mapping[str, Any]) -> bool:
    """Return whether chunks are wanted."""
    return bool(_given(request).get("stream"))


def write_response(response: Any) -> Completion:  # noqa: ANN401 - a ChatCompletion
    """Return an answer as the cache keeps it."""
    choice, usage = response.choices[0], response.usage
    calls = [call.model_dump() for call in choice.message.tool_calls or ()]
    return Completion(
        choice.message.content or "",
        choice.finish_reason,
        choice.message.role or "assistant",
        response.model,
        json.dumps(calls) if calls else "",
        usage.prompt_tokens if usage else 0,
        usage.completion_tokens if usage else 0,
        _part(usage, "prompt_tokens_details", "cached_tokens"),
        _part(usage, "completion_tokens_details", "reasoning_tokens"),
        body=response.model_dump_json(exclude_unset=True).encode(),
        media_type=MEDIA_TYPE,
    )


def read_response(completion: Completion) -> Any:  # noqa: ANN401 - as above
    """Return a kept answer as a ChatCompletion."""
    from openai.types.chat import ChatCompletion  # noqa: PLC0415 - who calls this has the library

    if completion.media_type == MEDIA_TYPE:
        return ChatCompletion.construct(**json.loads(completion.body))
    message = {"role": "assistant", "content": completion.text}
    if completion.tool_calls:
        message["tool_calls"] = json.loads(completion.tool_calls)
    made: dict[str, Any] = {
        "id": "cached", "object": "chat.completion", "created": 0, "model": completion.model,
        "choices": [{"index": 0, "message": message, "finish_reason": completion.finish_reason}],
        "usage": {
            "prompt_tokens": completion.input_tokens, "completion_tokens": completion.output_tokens,
            "total_tokens": completion.input_tokens + completion.output_tokens,
        },
    }  # fmt: skip
    return ChatCompletion.construct(**made)


def read_chunks(completion: Completion, request: Mapping[str, Any]) -> Iterator[Any]:
    """Return a kept answer as the chunks of a stream: what was said, why it ended, and the usage where it is wanted."""
    from openai.types.chat import ChatCompletionChunk  # noqa: PLC0415 - as above

    whole = read_response(completion)
    choice = whole.choices[0]
    calls = [{"index": index, **call.model_dump()} for index, call in enumerate(choice.message.tool_calls or ())]
    said = {
        "role": choice.message.role or "assistant",
        "content": choice.message.content,
        **({"tool_calls": calls} if calls else {}),
    }
    parts: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": said, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": choice.finish_reason}]},
    ]
    if (_given(request).get("stream_options") or {}).get("include_usage") and whole.usage is not None:
        parts.append({"choices": [], "usage": whole.usage.model_dump()})
    frame = {"id": whole.id, "object": "chat.completion.chunk", "created": whole.created, "model": whole.model}
    return iter([ChatCompletionChunk.construct(**frame | part) for part in parts])


class Said:
    """What a stream has said so far."""

    def __init__(self) -> None:
        from openai.lib.streaming.chat import ChatCompletionStreamState  # noqa: PLC0415 - as above

        self._state: Any = ChatCompletionStreamState()
        self._is_ended = self._is_strange = False

    def take(self, chunk: Any) -> None:  # noqa: ANN401 - a ChatCompletionChunk
        """Take a chunk; one that the library cannot add to the others makes the answer one that is not kept."""
        try:
            self._state.handle_chunk(chunk)
            self._is_ended = self._is_ended or any(choice.finish_reason for choice in chunk.choices)
        except Exception:  # noqa: BLE001 - whatever it is, the caller has his chunk and loses nothing
            self._is_strange = True

    def whole(self) -> Completion | None:
        """Return the answer; None where it did not come to its end, or is no answer."""
        if not self._is_ended or self._is_strange:
            return None
        # The library refuses what was filtered or ended at a length; neither is kept.
        with suppress(Exception):
            return write_response(self._state.get_final_completion())
        return None


def _part(usage: Any, details: str, name: str) -> int:  # noqa: ANN401 - a CompletionUsage, or what a provider made of it
    return int(getattr(getattr(usage, details, None), name, None) or 0)


def _given(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if type(value).__name__ not in _ABSENT}
