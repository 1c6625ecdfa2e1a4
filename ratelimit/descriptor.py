"""What a caller asks: descriptors with their hits, before any rule is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ratelimit.limits import Limit

Entry: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """An ordered list of key-value pairs, and what it would spend."""

    entries: tuple[Entry, ...]
    hits: int | None = None
    """None: the request's own hits; 0: look, spend nothing."""
    is_refund: bool = False
    override: Limit | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One question about a domain."""

    domain: str
    descriptors: tuple[Descriptor, ...]
    hits: int | None = None
    """None: not given, which counts as 1."""
    request_id: str = ""
    """Of the entry that REQUEST_ID_ENTRY names; it is in no descriptor."""
