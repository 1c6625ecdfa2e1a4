"""Everything the semantic cache raises.

SemcacheError
├── ConfigError           a setting or namespace cannot be used; keep the last good one
├── ExportError           a model cannot be exported, or its export is not faithful; nothing was kept
├── EmbedError            a text was not embedded
│   ├── EmbedTimeout      its deadline passed in the queue; answer without the semantic step
│   └── EmbedUnavailable  no model, or the queue is full; answer without the semantic step
├── StoreError            the entries cannot be read or written
│   ├── StoreTimeout      it may have happened; every write may be repeated: all are idempotent
│   ├── StoreUnavailable  it did not happen, or the connection broke: repeat a write that matters
│   └── StoreRefused      the store said no to this one call (a wrong vector, a limit)
└── LeaseError            leases cannot be read or written: fetch without one
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from serving.problems import Problem


class SemcacheError(Exception):
    """Anything that keeps the cache from doing what it was asked."""


class ConfigError(SemcacheError):
    """A setting cannot be used; the message names it, a line for each problem of a file."""

    problems: Sequence[Problem] = ()

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Self:
        """Return the error of a set of files."""
        error = cls("\n".join(str(problem) for problem in problems))
        error.problems = tuple(problems)
        return error


class ExportError(SemcacheError):
    """No faithful export of a model."""


class EmbedError(SemcacheError):
    """A text was not embedded."""


class EmbedTimeout(EmbedError):  # noqa: N818 - as the store's
    """The deadline passed before a model was free."""


class EmbedUnavailable(EmbedError):  # noqa: N818 - as the store's
    """No model that can be run, or too many texts are waiting."""


class StoreError(SemcacheError):
    """The entries cannot be read or written."""


class StoreTimeout(StoreError):  # noqa: N818 - the word of the limiter's store
    """No answer in time: a write may have happened, and may be repeated."""


class StoreUnavailable(StoreError):  # noqa: N818 - the word of the limiter's store
    """Not sent, or the connection broke before the answer."""


class StoreRefused(StoreError):  # noqa: N818 - the word of the limiter's store
    """The store answered this call with an error; its text is the message."""


class LeaseError(SemcacheError):
    """Leases cannot be read or written."""
