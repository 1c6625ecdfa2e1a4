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
import os
from dataclasses import dataclass, field
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import NamedTuple

from semcache.entry import EntryId, ScopeId
from semcache.invalidation import Moment

_BYTES_MAX = 1_024
_WHOSE_DIGITS = 16
# Tenants that are remembered with their scopes: 200 bytes each.
_WHOSE_MAX = 1_024
_NONCE_BYTES = 8
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Ticket(NamedTuple):
    """A lookup (a named tuple: every lookup makes one)."""

    namespace: str
    scope: ScopeId
    moment: Moment
    entry: EntryId | None = None
    """What was served, or came nearest."""
    score: float | None = None
    """The verifier's; none where nothing was judged, or a guard refused."""
    nonce: str = ""
    """What makes it another one than any other: `new_nonce`."""
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


def new_nonce() -> str:
    """Return what no other lookup has."""
    return os.urandom(_NONCE_BYTES).hex()


def write(value: Ticket | Held) -> str:
    """Return the opaque form."""
    text = _ticket_text(value) if isinstance(value, Ticket) else _held_text(value)
    return binascii.b2a_base64(text.encode(), newline=False).translate(_URL_SAFE).rstrip(b"=").decode()


def _ticket_text(ticket: Ticket) -> str:
    # JSON by hand, with the standard library's own letters: after an inference its encoder takes 50 µs more.
    namespace, scope, moment, entry, score, nonce, similarity, digest = ticket
    return (
        f"[{_quoted(namespace)},{_quoted(scope)},[{moment.epoch},{moment.mark}],{_quoted(entry) if entry else 'null'},"
        f"{'null' if score is None else repr(score)},{_quoted(nonce)},{similarity!r},{_quoted(digest)}]"
    )


def _held_text(held: Held) -> str:
    row = [held.group, held.key, held.token, [held.moment.epoch, held.moment.mark]]
    return json.dumps(row, separators=(",", ":"))


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
