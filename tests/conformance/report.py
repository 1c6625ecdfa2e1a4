"""What became of the vectors, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    suite: str
    vector: str
    problems: Sequence[str] = ()
    not_run: str = ""
    """Why it was not run; empty if it was."""


class Report:
    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)

    @property
    def has_failures(self) -> bool:
        return any(outcome.problems for outcome in self._outcomes)

    @property
    def has_passes(self) -> bool:
        return any(_has_passed(outcome) for outcome in self._outcomes)

    def table(self) -> str:
        """Write one row a suite and a sum, then what failed and what was not run, with the reason."""
        suites = dict.fromkeys(outcome.suite for outcome in self._outcomes)
        rows = [self._row(suite, [one for one in self._outcomes if one.suite == suite]) for suite in sorted(suites)]
        head = f"{'suite':<24}{'passed':>8}{'failed':>8}{'not run':>9}"
        failed = [f"FAILED {one.suite}/{one.vector}: {text}" for one in self._outcomes for text in one.problems]
        not_run = [f"not run {one.suite}/{one.vector}: {one.not_run}" for one in self._outcomes if one.not_run]
        return "\n".join([head, *rows, self._row("all", self._outcomes), *not_run, *failed])

    @staticmethod
    def _row(name: str, outcomes: Sequence[Outcome]) -> str:
        passed = sum(_has_passed(outcome) for outcome in outcomes)
        failed = sum(bool(outcome.problems) for outcome in outcomes)
        return f"{name:<24}{passed:>8}{failed:>8}{len(outcomes) - passed - failed:>9}"


def _has_passed(outcome: Outcome) -> bool:
    return not outcome.problems and not outcome.not_run
