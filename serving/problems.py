"""What is wrong with a file of settings, and where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a set of files, and where."""

    file: str
    line: int
    """From 1; 0 where the source has no lines (xDS)."""
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"
