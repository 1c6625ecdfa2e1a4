"""Says when to stop asking somebody who does not answer."""

from __future__ import annotations


class Breaker:
    """Opens after so many failures in a row, and closes with the first success."""

    def __init__(self, failures_max: int) -> None:
        self._failures_max = failures_max
        self._failures = 0

    @property
    def is_open(self) -> bool:
        """Whether to fail at once instead of asking; whoever probes asks nevertheless."""
        return self._failures >= self._failures_max

    def succeed(self) -> None:
        """Take note of an answer."""
        self._failures = 0

    def fail(self) -> None:
        """Take note of an answer that did not come, or was none."""
        self._failures += 1
