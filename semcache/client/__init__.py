"""The cache from Python: `async with CacheClient("localhost:8082", namespace="support") as cache: …`."""

from __future__ import annotations

from semcache.client.blocking import BlockingCacheClient
from semcache.client.connection import CacheClient, Fill
from semcache.client.openai import cached, found_of
from semcache.client.values import CacheError, Completion, Forgotten, Found, Stored

__all__ = [
    "BlockingCacheClient",
    "CacheClient",
    "CacheError",
    "Completion",
    "Fill",
    "Forgotten",
    "Found",
    "Stored",
    "cached",
    "found_of",
]
