"""Who may do what to which domain: by our own APIs nobody may anything that no rule allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from serving.rights import CallerName, Identity, digest


class Role(StrEnum):
    """What a caller may do."""

    ASK = "ask"
    """Check, charge and reserve: spend what is left."""
    SETTLE = "settle"
    """Settle and release reservations, and charge for work that was done."""
    REFUND = "refund"
    """Give back."""
    ADMINISTER = "administer"
    """Read, reset and grant, see rules and spenders; all else too."""


class CallerRule(CallerName):
    """Who may do what."""

    roles: frozenset[Role]
    """`ask`, `settle`, `refund`, `administer`; the last one includes the others."""
    domains: tuple[str, ...] = ()
    """Domains that it is about; empty: all."""

    @model_validator(mode="after")
    def _some_role(self) -> Self:
        if not self.roles:
            raise ValueError("has no roles")
        return self

    def allows(self, role: Role, domain: str) -> bool:
        """Return whether it permits this; what is of no domain is only permitted by rules for all."""
        is_role = role in self.roles or Role.ADMINISTER in self.roles
        return is_role and (not self.domains or domain in self.domains)


class Rights:
    """The rules in force; those of a file come and go, the rest stays."""

    def __init__(self, fixed: Iterable[CallerRule] = ()) -> None:
        self._fixed = tuple(fixed)
        self._callers = self._fixed

    def replace(self, callers: Sequence[CallerRule]) -> None:
        """Put rules into force in place of those that were replaced last."""
        self._callers = (*self._fixed, *callers)

    @property
    def is_empty(self) -> bool:
        """Return whether nobody may do anything."""
        return not self._callers

    def allows(self, who: Identity, role: Role, domain: str) -> bool:
        """Return whether a caller may do this in a domain; empty: in all of them."""
        return any(rule.allows(role, domain) and rule.matches(who) for rule in self._callers)


def holder_of(token: str) -> CallerRule:
    """Return the rule of one who may do everything by a token."""
    return CallerRule(token_sha256=digest(token), roles=frozenset(Role))
