"""Rewriting of names for dogstatsd: parts of a name become tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from serving.settings import MogrifierSettings, SettingsError, read

_REFERENCE = re.compile(r"\$(\d+)")
_PREFIX = "DOG_STATSD_MOGRIFIER_"


@dataclass(frozen=True, slots=True)
class Mogrifier:
    """A pattern, and the name and tags that stand for what it fits; `$1` is its first group."""

    pattern: re.Pattern[str]
    name: str
    tags: tuple[tuple[str, str], ...]

    def rewrite(self, name: str) -> tuple[str, dict[str, str]] | None:
        """Return the new name and its tags, or None where the pattern does not fit."""
        if (found := self.pattern.search(name)) is None:
            return None
        return _fill(self.name, found), {key: _fill(value, found) for key, value in self.tags}


def _fill(template: str, found: re.Match[str]) -> str:
    return _REFERENCE.sub(lambda reference: found[int(reference[1])] or "", template)


def read_mogrifiers(names: str) -> Sequence[Mogrifier]:
    """Read the rules named in USE_DOG_STATSD_MOGRIFIERS from the environment, in that order.

    Raises:
        SettingsError: one cannot be used; its variable is named.
    """
    return [_read(name.strip()) for name in names.split(",") if name.strip()]


def _read(name: str) -> Mogrifier:
    prefix = f"{_PREFIX}{name.upper()}_"
    settings = read(MogrifierSettings, _env_prefix=prefix)
    if not settings.pattern or not settings.name:
        raise SettingsError(f"{prefix}{'NAME' if settings.pattern else 'PATTERN'}: is empty")
    try:
        pattern = re.compile(settings.pattern)
    except re.error as error:
        raise SettingsError(f"{prefix}PATTERN: {error} (is '{settings.pattern}')") from None
    tags = tuple(settings.tags.items())
    for key, value in tags:
        if not key or not value:
            raise SettingsError(f"{prefix}TAGS: a key or a value is empty (is '{key}:{value}')")
    for reference in _REFERENCE.findall(" ".join([settings.name, *settings.tags.values()])):
        if int(reference) > pattern.groups:
            raise SettingsError(f"{prefix}PATTERN: has no group ${reference}")
    return Mogrifier(pattern, settings.name, tags)
