"""Who a caller is, and the names that rules of rights know callers by.

Whoever speaks of rights adds what a caller may do to `CallerName`. Tokens are kept as digests, so that a file of rights
gives nobody a right who reads it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.identity import has_name

_DIGEST = r"^[0-9a-f]{64}$"


@dataclass(frozen=True, slots=True)
class Identity:
    """What was proved about a caller."""

    sans: tuple[str, ...] = ()
    token: str = field(default="", repr=False)


class CallerName(BaseModel):
    """Who is meant. Exactly one of `san`, `token_sha256` and `anyone`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    san: str = ""
    """Name in the caller's client certificate: a DNS name, or a URI such as `spiffe://…`."""
    token_sha256: str = Field(default="", pattern=rf"{_DIGEST}|^$")
    """SHA-256, in hex, of the bearer token that the caller sends."""
    anyone: bool = False
    """Every caller, also one of whom nothing is known."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.san) + bool(self.token_sha256) + self.anyone != 1:
            raise ValueError("needs exactly one of san, token_sha256 and anyone")
        return self

    def matches(self, who: Identity) -> bool:
        """Return whether it speaks of this caller."""
        if self.anyone:
            return True
        if self.token_sha256:
            return bool(who.token) and hmac.compare_digest(digest(who.token), self.token_sha256)
        if "://" in self.san:
            return self.san in who.sans
        return has_name(who.sans, self.san)


def digest(token: str) -> str:
    """Return what a token is kept as."""
    return hashlib.sha256(token.encode()).hexdigest()
