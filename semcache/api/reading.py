"""Requests from the wire to plain values; what is wrong with one is told with the field's name."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.answers import Turn
from semcache.entry import Completion, Usage
from semcache.prompt import normalise
from semcache.scope import Json, Scope, canonical_json
from serving.refusal import Refused as Refused  # noqa: PLC0414 - part of what this module gives
from serving.refusal import decode as decode  # noqa: PLC0414 - as well

M = TypeVar("M", bound=Message)

# Precedent: protobuf's own bound on a Duration is 10,000 years.
_SECONDS_MAX = 100 * 365 * 86_400.0
_DETAIL_MAX = 100
# Whose words may be compared by meaning: what a system or a tool says is an instruction, or data. `model` is Gemini's.
_SPEAKERS = ("user", "assistant", "model")
# Scopes that are remembered, and how large: 5 MB, and some times that where they are JSON.
_SCOPES_MAX = 512
_SCOPE_BYTES_MAX = 10_000


def read_scope(namespace: str, scope: wire.Scope) -> Scope:
    """Return a scope, without history.

    Raises:
        Refused: a field of it that must be JSON is none.
    """
    message = scope.SerializeToString()
    return _remembered_scope(namespace, message) if len(message) <= _SCOPE_BYTES_MAX else _read_scope(namespace, scope)


# A caller's scope is the same for thousands of its lookups, and reading it is a tenth of an exact hit.
@lru_cache(_SCOPES_MAX)
def _remembered_scope(namespace: str, message: bytes) -> Scope:
    return _read_scope(namespace, wire.Scope.FromString(message))


def _read_scope(namespace: str, scope: wire.Scope) -> Scope:
    # Only what is present: an empty field is another scope than an absent one.
    values: dict[str, Any] = {field.name: value for field, value in scope.ListFields() if field.name != "extra"}
    for name in ("tools", "response_format", "sampling"):
        if name in values:
            values[name] = read_json(f"scope.{name}", values[name])
    return Scope(namespace, extra=dict(scope.extra), **values)


def read_json(name: str, text: str) -> Json:
    """Return the value of a JSON text.

    Raises:
        Refused: it is none, or nested too deep.
    """
    try:
        value: Json = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
        canonical_json(value)
    except (ValueError, RecursionError) as error:
        raise Refused.field(name, f"not JSON: {str(error)[:_DETAIL_MAX]}") from None
    return value


def read_turn(prompt: wire.Prompt) -> Turn:
    """Return what is asked, and what was said around it.

    Raises:
        Refused: there is no prompt.
    """
    match prompt.WhichOneof("kind"):
        case "text":
            return Turn(_said("prompt.text", prompt.text))
        case "chat":
            return _read_chat(prompt.chat.messages)
    raise Refused.field("prompt", "is missing")


def _read_chat(messages: Any) -> Turn:  # noqa: ANN401 - a repeated field, which has no name in the stubs
    last = max((index for index, each in enumerate(messages) if each.role == "user"), default=None)
    if last is None:
        raise Refused.field("prompt.chat.messages", "none is of role `user`")
    others: list[Json] = []
    fixed: list[Json] = []
    lines: list[str] = []
    for index, each in enumerate(messages):
        turn = _read_message(f"prompt.chat.messages[{index}]", each)
        unsaid = {name: value for name, value in turn.items() if name != "content"}
        if each.role not in _SPEAKERS:
            fixed.append(turn)
        elif each.attachments:
            fixed.append(unsaid)
        if index != last:
            others.append(turn)
            lines += [f"{each.role}: {turn['content']}"] if each.role in _SPEAKERS else []
        elif each.attachments or index < len(messages) - 1:
            # The prompt itself is not among the others, but for what of it is no text, and for where it stood.
            others.append(unsaid)
    prompt = _said(f"prompt.chat.messages[{last}].content", messages[last].content)
    return Turn(prompt, others or None, "\n".join(lines), fixed or None)


def _read_message(place: str, message: wire.Message) -> dict[str, Json]:
    if not message.role:
        raise Refused.field(f"{place}.role", "is missing")
    turn: dict[str, Json] = {"role": message.role, "content": normalise(message.content)}
    if message.attachments:
        turn["attachments"] = read_json(f"{place}.attachments", message.attachments)
    return turn


def read_completion(completion: wire.Completion) -> Completion:
    """Return an answer.

    Raises:
        Refused: its tool calls are no JSON list.
    """
    calls = read_json("completion.tool_calls", completion.tool_calls) if completion.tool_calls else []
    if not isinstance(calls, list):
        raise Refused.field("completion.tool_calls", "not a JSON array")
    usage = completion.usage
    return Completion(
        text=completion.text,
        finish_reason=completion.finish_reason or "stop",
        role=completion.role or "assistant",
        model=completion.model,
        tool_calls=completion.tool_calls if calls else "",
        usage=Usage(usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_tokens),
        body=completion.body,
        media_type=completion.media_type,
    )


def read_seconds(name: str, duration: Duration) -> float:
    """Return a duration in seconds.

    Raises:
        Refused: it is negative.
    """
    seconds = duration.seconds + duration.nanos / 1e9
    if seconds < 0:
        raise Refused.field(name, "is negative")
    return min(seconds, _SECONDS_MAX)


def read_share(name: str, value: float) -> float:
    """Return a number from 0 to 1.

    Raises:
        Refused: it is outside.
    """
    if not 0.0 <= value <= 1.0:  # also what is no number
        raise Refused.field(name, f"not between 0 and 1: {value:g}")
    return value


def read_temperature(name: str, value: float) -> float:
    """Return a finite number that is not negative.

    Raises:
        Refused: it is none.
    """
    if not math.isfinite(value) or value < 0:
        raise Refused.field(name, f"not a number from 0 on: {value:g}")
    return value


def _said(name: str, text: str) -> str:
    prompt = normalise(text)
    if not prompt:
        raise Refused.field(name, "is empty")
    return prompt


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _object(members: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(members)
    # Of two members of one name readers take the first, the last or both: two requests that differ would be one scope.
    if len(value) < len(members):
        raise ValueError("an object has two members of one name")
    return value
