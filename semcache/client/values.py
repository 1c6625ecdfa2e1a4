"""What callers of the client give and get, in plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from protos.semcache.v1 import semcache_pb2 as wire

Prompt: TypeAlias = str | Sequence[Any]
"""A question, or the messages of a chat as OpenAI spells them: mappings, or messages that its library gave."""

TEXTS = ("tenant", "user", "api_schema", "model", "system_prompt", "region")
JSONS = ("tools", "response_format", "sampling")


class CacheError(Exception):
    """The cache refused the call: bad input, or a right that is missing."""


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer."""

    text: str
    finish_reason: str = "stop"
    role: str = "assistant"
    model: str = ""
    tool_calls: str = ""
    """JSON array; empty: none."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    body: bytes = field(default=b"", repr=False)
    """Bytes of your own, given back as they are."""
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What an invalidation did."""

    entries: int
    """How many were removed, or would be."""
    is_erased: bool = False
    """No text of them is left in the store's files."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a lookup."""

    outcome: str
    """`exact`, `semantic`, `miss` or `bypass`."""
    reason: str = ""
    """Why it was no hit; `unreachable` where the cache did not answer."""
    completion: Completion | None = None
    entry_id: str = ""
    similarity: float = 0.0
    confidence: float = 0.0
    age_seconds: float = 0.0
    step: str = ""
    guard: str = ""
    missing: str = ""
    lookup_id: str = ""
    lease_id: str = field(default="", repr=False)
    scope_id: str = ""
    tokens_cut: int = 0
    """Tokens of the prompt that the embedding model did not read."""

    @property
    def is_hit(self) -> bool:
        """Return whether there is an answer."""
        return self.completion is not None


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of an offered answer."""

    is_stored: bool
    refusal: str = ""
    detail: str = ""
    entry_id: str = ""


def write_scope(fields: Mapping[str, Any]) -> wire.Scope:
    """Return a scope of keyword arguments; what is None is absent, and names that it has not are extra pairs.

    Raises:
        TypeError: a value is no text, or no JSON.
    """
    scope = wire.Scope()
    for name, value in fields.items():
        if value is None:
            continue
        if name in JSONS:
            setattr(scope, name, value if isinstance(value, str) else _json(value))
        elif name in TEXTS:
            setattr(scope, name, value)
        else:
            scope.extra[name] = value
    return scope


def write_prompt(prompt: Prompt) -> wire.Prompt:
    """Return a prompt of a text or of messages."""
    if isinstance(prompt, str):
        return wire.Prompt(text=prompt)
    return wire.Prompt(chat=wire.Chat(messages=[_write_message(each) for each in prompt]))


def write_completion(completion: Completion | str) -> wire.Completion:
    """Return a completion."""
    if isinstance(completion, str):
        return wire.Completion(text=completion)
    return wire.Completion(
        text=completion.text,
        finish_reason=completion.finish_reason,
        role=completion.role,
        model=completion.model,
        tool_calls=completion.tool_calls,
        usage=wire.Usage(
            input_tokens=completion.input_tokens,
            output_tokens=completion.output_tokens,
            cached_input_tokens=completion.cached_input_tokens,
            reasoning_tokens=completion.reasoning_tokens,
        ),
        body=completion.body,
        media_type=completion.media_type,
    )


def read_found(response: wire.LookupResponse) -> Found:
    """Return the answer to a lookup."""
    return Found(
        _word(wire.Outcome.Name(response.outcome), "OUTCOME_"),
        _word(wire.Reason.Name(response.reason), "REASON_"),
        _read_completion(response.completion) if response.HasField("completion") else None,
        response.entry_id,
        response.similarity,
        response.confidence,
        response.age.seconds + response.age.nanos / 1e9,
        response.step,
        response.guard,
        response.missing,
        response.lookup_id,
        response.lease_id,
        response.scope_id,
        response.tokens_cut,
    )


def read_stored(response: wire.StoreResponse) -> Stored:
    """Return what became of an offer."""
    refusal = _word(wire.Refusal.Name(response.refusal), "REFUSAL_")
    return Stored(response.stored, refusal, response.detail, response.entry_id)


def _read_completion(completion: wire.Completion) -> Completion:
    usage = completion.usage
    return Completion(
        completion.text,
        completion.finish_reason,
        completion.role,
        completion.model,
        completion.tool_calls,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
        completion.body,
        completion.media_type,
    )


def _write_message(message: Any) -> wire.Message:  # noqa: ANN401 - as `Prompt`
    said: Mapping[str, Any] = message if isinstance(message, Mapping) else _plain(message)
    content = said.get("content")
    rest = {key: value for key, value in said.items() if key not in {"role", "content"} and value is not None}
    if not isinstance(content, str | None):
        # Parts of a message: texts are the turn, images and files must be equal, and where they stand among the texts.
        parts = [part if isinstance(part, Mapping) else _plain(part) for part in content]
        texts = [part["text"] for part in parts if part.get("type") == "text"]
        others = [{"type": "text"} if part.get("type") == "text" else part for part in parts]
        content = "\n".join(texts)
        rest |= {"content": others} if len(texts) < len(parts) else {}
    return wire.Message(role=said.get("role", ""), content=content or "", attachments=_json(rest) if rest else "")


def _json(value: Any) -> str:  # noqa: ANN401 - JSON, or objects of OpenAI's library in it
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - as above
    """Return an object of OpenAI's library as the mapping that it stands for.

    Raises:
        TypeError: it is none.
    """
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"neither JSON nor a message: {type(value).__name__}")
    plain: Mapping[str, Any] = dump(mode="json", exclude_none=True)
    return plain


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word
