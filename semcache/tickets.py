"""Names that callers give back: of a lookup, and of a lease. Each carries what any replica needs to go on.

    base64url(JSON)   opaque to callers, and no secret of ours: it holds ids and numbers, no text

A caller could forge one. It would gain nothing: every id in it is looked up within the namespace that the caller has the
right to, and whoever may give feedback may give wrong feedback anyway. What another caller was given is no use to who may
speak for other tenants only: a lookup says whose it was, as a digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import secrets
from dataclasses import astuple, dataclass, field
from functools import lru_cache

from semcache.entry import EntryId, ScopeId
from semcache.invalidation import Moment

_BYTES_MAX = 1_024
_WHOSE_DIGITS = 16
# Tenants that are remembered with their scopes: 200 bytes each.
_WHOSE_MAX = 1_024
_JSON = json.JSONEncoder(separators=(",", ":"), default=astuple)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A lookup."""

    namespace: str
    scope: ScopeId
    moment: Moment
    entry: EntryId | None = None
    """What was served, or came nearest."""
    score: float | None = None
    """The verifier's; none where nothing was judged, or a guard refused."""
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    similarity: float = 0.0
    whose: str = ""
    """Digest of the tenant, by `whose`."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease."""

    group: str
    key: str
    token: str = field(repr=False)
    moment: Moment


@lru_cache(_WHOSE_MAX)
def whose(scope: ScopeId, tenant: str | None) -> str:
    """Return what a lookup says of its tenant; of the scope, too, so that two lookups do not say that they are of one."""
    return hashlib.sha256(f"{scope}\n{tenant}".encode()).hexdigest()[:_WHOSE_DIGITS] if tenant is not None else ""


def write(value: Ticket | Held) -> str:
    """Return the opaque form."""
    # Not astuple, which copies whatever it finds: every lookup gets a name.
    text = _JSON.encode([getattr(value, each) for each in value.__slots__])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_ticket(text: str) -> Ticket | None:
    """Return the lookup, or None where it is not one of ours."""
    match _read(text):
        case [
            str(namespace),
            str(scope),
            [int(epoch), int(mark)],
            None | str() as entry,
            None | int() | float() as score,
            str(nonce),
            int() | float() as similarity,
            str(digest),
        ]:
            if math.isfinite(score or 0.0) and math.isfinite(similarity):
                judged = EntryId(entry) if entry else None
                return Ticket(namespace, ScopeId(scope), Moment(epoch, mark), judged, score, nonce, similarity, digest)
    return None


def read_lease(text: str) -> Held | None:
    """Return the lease, or None where it is not one of ours."""
    match _read(text):
        case [str(group), str(key), str(token), [int(epoch), int(mark)]]:
            return Held(group, key, token, Moment(epoch, mark))
    return None


def _read(text: str) -> object:
    if len(text) > _BYTES_MAX:
        return None
    try:
        return json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
