"""What stands for a value that may be a secret: a short hash, the same one wherever the value shows."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from serving.settings import LogSettings

# 48 bits: among 10,000 values (STATS_SERIES_MAX) two are alike once in 5 million times.
_BYTES = 6
_KEY_BYTES_MAX = 64


def shower(settings: LogSettings) -> Callable[[str], str]:
    """Return how values are shown: as they are, or under HASH_VALUES as hashes.

    Stars of a pattern are left, so that it can be told from a value.
    """
    if not settings.hash_values:
        return lambda value: value
    secret = settings.hash_values_key.get_secret_value().encode()
    key = secret if len(secret) <= _KEY_BYTES_MAX else blake2b(secret).digest()

    def digest(text: str) -> str:
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES, key=key).hexdigest()

    return lambda value: "*".join(digest(part) if part else "" for part in value.split("*"))
