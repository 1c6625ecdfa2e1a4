"""Everything the limiter raises.

RatelimitError
├── ConfigError          the rules are wrong; keep serving the last good ones
├── BadRequest           the caller asked for what cannot be answered; nothing was charged
└── StoreError           the counters cannot be read or written
    ├── StoreTimeout     it may have happened; do not retry a charge
    ├── StoreUnavailable it did not happen; safe to retry
    └── StoreRefused     the server refused this one call (wrong type, no memory, read-only); the others are unhurt
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.problems import Problem as Problem  # noqa: PLC0414 - part of what this module gives


class RatelimitError(Exception):
    """Anything that keeps a call from being answered."""


class ConfigError(RatelimitError):
    """A set of rules was refused; carries every problem, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class BadRequest(RatelimitError):  # noqa: N818 - the field's word
    """The request is malformed; answered as the reference does where it does."""


class StoreError(RatelimitError):
    """The counters cannot be read or written."""


class StoreTimeout(StoreError):  # noqa: N818 - the word of design.md
    """No answer in time: the charge may have happened."""


class StoreUnavailable(StoreError):  # noqa: N818 - the word of design.md
    """Not sent, or refused before anything was done: the charge did not happen."""


class StoreRefused(StoreError):  # noqa: N818 - the word of design.md
    """The server answered this call with an error; its text is the message."""
