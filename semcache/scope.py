"""Who shares an answer: the fingerprint of everything that must be equal, and the id of one prompt in it.

    Scope ──canonical JSON──▶ SHA-256 ──first 128 bits──▶ ScopeId ──UUIDv5 of it and the prompt──▶ EntryId

1. Two scopes share answers only if every field is equal. Absent is not empty: a missing system prompt and an empty
   one are two scopes.
2. Canonical JSON: keys sorted by code point, no blanks, numbers as JSON has them with 1.0 and 1 being one number,
   text as UTF-8 without escapes that it does not need. The same on every platform and in every process; vectors of
   it are in the tests and must never change without `VERSION`.
3. The epoch is not in it. It is a field of the entry and a condition of every search, so that the exact lookup and
   the epoch can be asked for at the same time, and storing again replaces what an invalidation left behind.
4. Neither is the embedding model: each has a store of its own, so entries of two are never neighbours, and a change of
   models takes entries over under the ids they have.
5. Fields that callers give are data, never joined by a separator: no two different scopes have one spelling.
"""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TypeAlias, Union

from semcache.entry import EntryId, ScopeId

Json: TypeAlias = Union[bool, int, float, str, Sequence["Json"], Mapping[str, "Json"], None]  # noqa: UP007 - recursive

VERSION = 1
# Namespace of our UUIDs; made once, at random.
_ENTRIES = uuid.UUID("5c1d3b52-0f2f-4f0e-9a51-6f3c9c0a7d11")
# Doubles are exact up to here, so 1e3 and 1000 are one number below it.
_EXACT_MAX = 2**53
_DEPTH_MAX = 64
# Of a fingerprint: 128 bits.
_DIGITS = 32


@dataclass(frozen=True)  # without slots: it keeps its fingerprint, since callers ask again under the same scope
class Scope:
    """Everything that must be equal for an answer to be shared."""

    namespace: str
    tenant: str | None = None
    user: str | None = None
    api_schema: str | None = None
    """How the caller's API names things: `openai.chat`, `anthropic.messages`."""
    model: str | None = None
    system_prompt: str | None = None
    history: Json = None
    """Turns before the last one."""
    tools: Json = None
    response_format: Json = None
    sampling: Json = None
    """Class of sampling settings; temperature 0 and 1 do not share."""
    region: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)

    @cached_property
    def id(self) -> ScopeId:
        """Return the fingerprint.

        Raises:
            ValueError: a field is no JSON (NaN, bytes, a key that is no text).
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        text = canonical_json(
            {"version": VERSION, **{key: value for key, value in values.items() if value is not None}}
        )
        return ScopeId(hashlib.sha256(text.encode()).hexdigest()[:_DIGITS])


def entry_id(scope: ScopeId, prompt: str) -> EntryId:
    """Return the id of a normalised prompt within a scope; the same in every process."""
    # uuid.uuid5 by hand: after an inference, when nothing of it is in the caches any more, that takes 40 µs more.
    digest = hashlib.sha1(_ENTRIES.bytes + f"{scope}\n{prompt}".encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return EntryId(f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}")


def is_scope_id(text: str) -> bool:
    """Return whether a text is a fingerprint as `Scope.id` spells it."""
    return len(text) == _DIGITS and not set(text) - set("0123456789abcdef")


def is_entry_id(text: str) -> bool:
    """Return whether a text is an id as `entry_id` spells them; stores refuse others in ways of their own."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def canonical_json(value: Json) -> str:
    """Return the one spelling of a JSON value.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    # json.dumps writes text without escapes and floats in their shortest form; what it leaves open is decided before.
    return json.dumps(_plain(value, 0), ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


def _plain(value: Json, depth: int) -> Json:
    if depth > _DEPTH_MAX:
        raise ValueError(f"JSON is nested deeper than {_DEPTH_MAX}")
    match value:
        case float() if math.isfinite(value) and value == int(value) and abs(value) <= _EXACT_MAX:
            return int(value)
        case str():
            return _checked(value)
        case None | bool() | int() | float():
            return value
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise ValueError("a key of a JSON object is no text")
            return {_checked(key): _plain(member, depth + 1) for key, member in value.items()}
        case list() | tuple():
            return [_plain(member, depth + 1) for member in value]
        case _:
            raise ValueError(f"not JSON: {type(value).__name__}")


def _checked(text: str) -> str:
    # Half of a surrogate pair has no UTF-8; said here, so that the caller hears ValueError and not a codec's error.
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("text has half a surrogate pair")
    return text
