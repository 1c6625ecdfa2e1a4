"""What a set of rules asks of the counters' home: scripts, and one place for all that must be all or nothing.

A script reaches one slot of a cluster, and one server. A domain in which some rule keeps (or reserves) makes requests
all or nothing over all their counters; those must share a place. What cannot be kept is refused when rules are
loaded, not when the first request comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ratelimit.errors import Problem
from ratelimit.limits import Unit
from ratelimit.rules import Domain, Rule


@dataclass(frozen=True, slots=True)
class Home:
    """Where counters live."""

    has_scripts: bool = True
    is_cluster: bool = False
    has_per_second: bool = False
    """Limits per second are counted by a server of their own."""


ANYWHERE = Home()


@dataclass(frozen=True, slots=True)
class Placed:
    """A rule, and the keys on the way to it."""

    domain: Domain
    keys: tuple[str, ...]
    rule: Rule


def problems(placed: Sequence[Placed], home: Home) -> Iterator[Problem]:
    """Return what this home cannot do for these rules."""
    if not home.has_scripts:
        yield from (_problem(each, _NO_SCRIPTS) for each in placed if _needs_script(each.rule))
        return
    for name in dict.fromkeys(each.domain.name for each in placed):
        mine = [each for each in placed if each.domain.name == name and each.rule.limit is not None]
        keeper = next((each for each in mine if _keeps(each.rule)), None)
        if keeper is not None:
            yield from _parted(mine, keeper, home)


_NO_SCRIPTS = "this rule needs scripts, which REDIS_SCRIPTS=off and proxies rule out"


def _parted(mine: Sequence[Placed], keeper: Placed, home: Home) -> Iterator[Problem]:
    why = f"the rule at {keeper.rule.where.file}:{keeper.rule.where.line} makes requests of this domain all or nothing"
    tag = keeper.domain.hash_tag
    for each in mine:
        if home.is_cluster and not tag:
            yield _problem(
                each, f"{why}, which a cluster can do in one slot: `hash_tag` names the entries that share it"
            )
        elif home.is_cluster and each.keys[: len(tag)] != tag:
            yield _problem(each, f"{why}, but this descriptor does not begin with {', '.join(tag)}, as `hash_tag` says")
        elif home.has_per_second and _is_per_second(each.rule) != _is_per_second(keeper.rule):
            yield _problem(each, f"{why}, but limits per second are counted by another server (REDIS_PERSECOND)")


def _needs_script(rule: Rule) -> bool:
    return rule.has_ceiling or not rule.is_counted_plainly


def _keeps(rule: Rule) -> bool:
    return (rule.modes.is_kept and not rule.shadow_mode) or rule.modes.reserve is not None


def _is_per_second(rule: Rule) -> bool:
    return all(limit.unit is Unit.SECOND for limit in rule.limits)


def _problem(placed: Placed, message: str) -> Problem:
    return Problem(placed.rule.where.file, placed.rule.where.line, message)
