"""Durations for people: the two largest units."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def spoken(seconds: int) -> str:
    """Say how long, to the second largest unit: `52 s`, `5 min 20 s`, `34 d 22 h`."""
    parts: list[str] = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        parts.append(f"{count} {unit}" if count else "")
    begun = next((at for at, part in enumerate(parts) if part), len(parts) - 1)
    return " ".join(filter(None, parts[begun : begun + 2])) or "0 s"
