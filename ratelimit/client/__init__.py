"""The limiter from Python: `async with LimiterClient("localhost:8081", domain="llm") as limits: …`."""

from __future__ import annotations

from ratelimit.client.admin import AdminClient
from ratelimit.client.connection import LimiterClient
from ratelimit.client.exchange import Exchange
from ratelimit.client.hold import Hold
from ratelimit.client.lease import Lease
from ratelimit.client.values import Answer, LimiterAway, LimiterError, LimiterRefused, LimitState, OverLimit

__all__ = [
    "AdminClient",
    "Answer",
    "Exchange",
    "Hold",
    "Lease",
    "LimitState",
    "LimiterAway",
    "LimiterClient",
    "LimiterError",
    "LimiterRefused",
    "OverLimit",
]
