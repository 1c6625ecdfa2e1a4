"""Vectors that can share one server: equal settings, and none that asks for a server of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.conformance.runner import base_files
from tests.conformance.suites import Case, Scenario, Settings

_SAMPLED_EVERY = 6


@dataclass(frozen=True, eq=False)
class Group:
    settings: Settings
    vectors: tuple[Scenario | Case, ...]

    @property
    def is_isolated(self) -> bool:
        return any(isinstance(vector, Scenario) and vector.is_isolated for vector in self.vectors)

    @property
    def has_usable_config(self) -> bool:
        return all(isinstance(vector, Case) or vector.has_usable_config for vector in self.vectors)

    @property
    def files(self) -> Mapping[str, str]:
        """The files that the server starts with; those of cases come and go later."""
        files = {} if self.is_isolated else base_files()
        for vector in self.vectors:
            files |= vector.files if isinstance(vector, Scenario) else {}
        return files


def groups(vectors: Iterable[Scenario | Case]) -> tuple[Group, ...]:
    """Divide vectors into groups, largest first, so that two workers end at about the same time."""
    shared: dict[Settings, list[Scenario | Case]] = {}
    alone = []
    for vector in vectors:
        if isinstance(vector, Scenario) and vector.is_isolated:
            alone.append(Group(vector.settings, (vector,)))
        else:
            shared.setdefault(vector.settings, []).append(vector)
    together = [Group(settings, tuple(members)) for settings, members in shared.items()]
    return tuple(sorted(together, key=lambda group: -len(group.vectors)) + alone)


def without_store_steps(vectors: Iterable[Scenario | Case]) -> tuple[Scenario | Case, ...]:
    """Leave out what looks into or tampers with a store: that is what memory does not have."""
    return tuple(vector for vector in vectors if isinstance(vector, Case) or not vector.has_store_steps)


def sample(vectors: Iterable[Scenario | Case]) -> tuple[Scenario, ...]:
    """Return some dozens of scenarios, the first of every suite among them, which share few servers."""
    chosen: list[Scenario] = []
    suites: set[str] = set()
    for number, vector in enumerate(vectors):
        if isinstance(vector, Case) or vector.is_isolated:
            continue
        if vector.suite not in suites or number % _SAMPLED_EVERY == 0:
            chosen.append(vector)
        suites.add(vector.suite)
    return tuple(chosen)
