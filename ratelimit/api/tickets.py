"""Reservation ids: they hold all that settling needs, so any replica can, also one that was started since.

    Ticket ──▶ bytes ──▶ "1" + base64url        no secret: whoever may settle may settle anything in his domains

A ticket names the moment of admission, and with it the windows that the counters of plain rules have in their names.
"""

from __future__ import annotations

import base64
import binascii

from google.protobuf.message import DecodeError

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.draw import MEMORY_LIVES
from serving.refusal import Refused

_VERSION = "1"


def write_ticket(ticket: wire.Ticket) -> str:
    """Return the reservation id."""
    return _VERSION + base64.urlsafe_b64encode(ticket.SerializeToString()).decode().rstrip("=")


def read_ticket(reservation_id: str) -> wire.Ticket:
    """Return what a reservation id holds.

    Raises:
        Refused: it is none.
    """
    version, text = reservation_id[:1], reservation_id[1:]
    try:
        ticket = wire.Ticket.FromString(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (binascii.Error, DecodeError, ValueError):
        version = ""
    if version != _VERSION or not ticket.request_id:
        raise Refused.field("reservation_id", "is none that Reserve gave" if reservation_id else "is missing")
    return ticket


def admitted_at(ticket: wire.Ticket, now: float) -> float:
    """Return when it was admitted, as long as its id is remembered; 0 for what is older.

    Clocks of replicas need not agree: what another one admitted may lie ahead, by the life of its hold at most.
    """
    at, life = ticket.admitted_at_ms / 1000, ticket.ttl_ms / 1000
    return at if -life <= now - at <= life * (1 + MEMORY_LIVES) else 0.0
