"""What an operator says of a cache: a namespace with its model, target, life times, bounds, and who may do what.

    file ──▶ Namespace* ──▶ Namespaces ── find(name) ──▶ Namespace ── allows(who, role, tenant) ──▶ yes | no

1. Nobody may do anything that no entry of `callers` allows; open is what says `anyone: true`.
2. A namespace has a target error or a threshold, never both: with the first the calibration decides what is near
   enough, with the second the operator does.
3. The sentence under each field is the operator's manual, as in the settings of the services.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from semcache.scope import Scope
from serving.rights import CallerName, Identity
from serving.settings import Seconds

Dimension: TypeAlias = Literal[
    "tenant", "user", "api_schema", "model", "system_prompt", "tools", "response_format", "sampling", "region"
]
Share: TypeAlias = Annotated[float, Field(ge=0.0, le=1.0)]


class Role(StrEnum):
    """What a caller may do."""

    LOOKUP = "lookup"
    STORE = "store"
    FEEDBACK = "feedback"
    INVALIDATE = "invalidate"
    EXPORT = "export"
    ADMINISTER = "administer"
    """Describe and import; all else too."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class CallerRule(CallerName):
    """Who may do what."""

    roles: frozenset[Role]
    """`lookup`, `store`, `feedback`, `invalidate`, `export`, `administer`; the last one includes the others."""
    tenants: tuple[str, ...] = ()
    """Tenants that the caller may name; empty: all, and none."""

    @model_validator(mode="after")
    def _some_role(self) -> Self:
        if not self.roles:
            raise ValueError("has no roles")
        return self

    def allows(self, role: Role, tenant: str | None) -> bool:
        """Return whether it permits this, for any tenant where none is named by the role itself."""
        is_role = role in self.roles or Role.ADMINISTER in self.roles
        return is_role and (not self.tenants or tenant in self.tenants)


class Ttl(_Block):
    """How long answers are served."""

    default: Seconds = Field(default=3600.0, gt=0)
    """Where the caller names none."""
    max: Seconds = Field(default=86_400.0, gt=0)
    """Most that a caller may name; more is cut to it."""
    jitter: Share = 0.1
    """Share of the life that is taken off at random, so that answers stored together do not end together. A hit renews
    nothing: an answer ends when it was said to, however popular."""

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.default > self.max:
            raise ValueError("default is above max")
        return self


class Retention(_Block):
    """Which answers are kept."""

    prompt_bytes_max: int = Field(default=16_384, gt=0)
    """Longest prompt that is looked up or kept."""
    text_bytes_max: int = Field(default=65_536, gt=0)
    """Longest answer, tool calls included."""
    body_bytes_max: int = Field(default=65_536, ge=0)
    """Longest opaque body."""
    history_bytes_max: int = Field(default=16_384, gt=0)
    """Longest conversation that is compared by meaning (`history: similar`)."""
    tags_max: int = Field(default=16, ge=0)
    """Tags of one answer, each of 128 bytes at most; the same bounds hold for pairs of source metadata."""
    finish_reasons: frozenset[str] = frozenset({"stop"})
    """Ways to end that count as complete. Add the words of a provider that are offered as they are: `end_turn`, `STOP`."""
    tool_calls: bool = False
    """Keep answers that call tools."""
    temperature_max: float = Field(default=1.0, ge=0)
    """Answers sampled at a higher temperature were meant to differ, and are not kept."""
    deictic: bool = False
    """Keep answers to turns such as `yes` and `continue` also where nothing was said before them."""


class Prices(_Block):
    """What tokens cost, in any currency, for the sums that Describe shows."""

    input: float = Field(default=0.0, ge=0)
    """A million input tokens."""
    cached_input: float | None = Field(default=None, ge=0)
    """A million input tokens that the provider had cached; absent: as input."""
    output: float = Field(default=0.0, ge=0)
    """A million output tokens."""
    lookup: float = Field(default=0.0, ge=0)
    """A million lookups: what the cache itself costs."""


class Demand(_Block):
    """What a semantic hit must reach. Exactly one of both."""

    target_error: float | None = Field(default=None, gt=0, le=0.5)
    """Share of served hits that may be wrong: the calibration finds what that asks of each."""
    threshold: float | None = Field(default=None, gt=0, le=1)
    """Least similarity, as a fixed number; guards still hold."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.target_error is not None and self.threshold is not None:
            raise ValueError("has both target_error and threshold: one of them decides")
        return self


TARGET_ERROR = 0.05
"""Of a namespace that says nothing: the shipped calibration, before any feedback, serves what is clearly the same question
in other words under it, and next to nothing under 0.01."""


class Namespace(Demand):
    """One cache."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    """Its name, in lower case."""
    enabled: bool = True
    """Off: every lookup is a BYPASS and nothing is stored; entries stay."""
    model: str = ""
    """Embedding model: a folder in SEMCACHE_EMBEDDER_MODELS_FOLDER, without the precision. Empty: the service's own."""
    semantic: bool = True
    """Off: only the same prompt is a hit."""
    guards: bool = True
    """Rules that refuse what means something else however near it is: another number, a negation, another name."""
    shadow: Demand | None = None
    """Another setting, measured beside on live lookups without being served."""
    explore: float = Field(default=0.01, ge=0, le=0.5)
    """Share of would-be hits that are misses instead, so that judgements are not only of what is served."""
    required: frozenset[Dimension] = frozenset({"tenant"})
    """Fields of the scope without which a lookup is a BYPASS: an answer is never shared because somebody forgot one."""
    history: Literal["exact", "similar"] = "exact"
    """How what user and assistant said around the prompt must match: be equal, or mean the same as far as the verifier can
    tell. What others said (system, tools), images and tool calls must be equal either way."""
    ttl: Ttl = Ttl()
    retention: Retention = Retention()
    entries_max: int = Field(default=100_000, gt=0)
    """Entries kept; beyond it those go that are worth least."""
    lease_ttl: Seconds = Field(default=60.0, gt=0, le=600)
    """How long a caller may fetch before another one may, too."""
    fill_wait_max: Seconds = Field(default=30.0, ge=0, le=600)
    """Longest wait for another caller's fetch."""
    prices: Prices = Prices()
    callers: tuple[CallerRule, ...]
    """Who may do what; whom no rule allows something may not do it."""

    @model_validator(mode="before")
    @classmethod
    def _default_target(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("target_error") is None and value.get("threshold") is None:
            return {**value, "target_error": TARGET_ERROR}
        return value

    # After the fields and not as their bound: pydantic would tell of each bad member once more, as one too few.
    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.callers:
            raise ValueError("nobody may do anything: callers is empty")
        return self

    def allows(self, who: Identity, role: Role, tenant: str | None = None) -> bool:
        """Return whether a caller may do this for a tenant."""
        return any(rule.matches(who) and rule.allows(role, tenant) for rule in self.callers)

    def missing(self, scope: Scope) -> str:
        """Return the first required field that a scope lacks; empty where there is none. Blanks say nothing."""
        return next((name for name in sorted(self.required) if _is_unsaid(getattr(scope, name))), "")


def _is_unsaid(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


class Namespaces:
    """The set in force."""

    def __init__(self, members: Iterable[Namespace] = ()) -> None:
        self._members: Mapping[str, Namespace] = {each.name: each for each in members}

    def find(self, name: str) -> Namespace | None:
        """Return a namespace, or None."""
        return self._members.get(name)

    @property
    def members(self) -> Sequence[Namespace]:
        """All of them, by name."""
        return [self._members[name] for name in sorted(self._members)]
