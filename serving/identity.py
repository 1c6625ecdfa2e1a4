"""Who calls, and whether a certificate bears a name."""

from __future__ import annotations

from collections.abc import Iterable

_BEARER = "bearer "


def bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the token of `authorization: Bearer …`; empty where there is none."""
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str) and value[:7].lower() == _BEARER:
            return value[7:].strip()
    return ""


def has_name(sans: Iterable[str], name: str) -> bool:
    """Return whether one of the names is this DNS name, or a wildcard for its first label."""
    name = name.lower()
    _, _, parent = name.partition(".")
    accepted = (name, f"*.{parent}") if parent else (name,)
    return any(san.lower() in accepted for san in sans)
