"""The rules in force, and the port to where they come from.

    RuleSource ── apply(news) ──▶ Rules ── current, generation, modes ──▶ limiter (plain attributes, hot path)
                ◀── why refused ──┘    └── subscribers (health)

1. News is a whole set of specs, or a `ConfigError` that says why there is none.
2. A set comes into force whole or not at all: a bad one leaves rules, modes and generation alone.
3. Trees are built off the event loop; attributes change on it, all between two calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol, TypeAlias

from ratelimit import tree
from ratelimit.atomicity import ANYWHERE, Home
from ratelimit.changes import changes
from ratelimit.errors import ConfigError, Problem
from ratelimit.overlay import Overlay
from ratelimit.rules import RuleSet, Show, plainly
from ratelimit.settings import ConfigSettings, ModeSettings
from ratelimit.specs import DescriptorSpec, DomainSpec
from serving.metrics import Registry
from serving.settings import SettingsError, read

log = logging.getLogger(__name__)

# Rules whose counters begin anew, told for each load.
_CHANGES_LOGGED_MAX = 50

News: TypeAlias = Sequence[DomainSpec] | ConfigError
Apply: TypeAlias = Callable[[News], Awaitable[ConfigError | None]]


class RuleSource(Protocol):
    """Where rules come from: files or a management server."""

    async def start(self) -> None:
        """Bring the first news, and go on bringing them.

        Returns once the first set was accepted or refused. Never raises for a bad or a missing set.
        """

    async def stop(self) -> None:
        """Bring no more."""


class Rules:
    """Holds the last good set of rules."""

    def __init__(
        self, settings: ConfigSettings, registry: Registry, show: Show = plainly, home: Home = ANYWHERE
    ) -> None:
        self.current: RuleSet | None = None
        """None until a set was accepted."""
        self.generation = 0
        """Grows with every accepted set."""
        self.modes = ModeSettings()
        """Read again from the environment with every accepted set."""
        self._settings = settings
        self._show = show
        self._home = home
        self._accepted = registry.counter("ratelimit.service.config_load_success")
        self._refused = registry.counter("ratelimit.service.config_load_error")
        self._subscribers: list[Callable[[], None]] = []
        self._last_problems: tuple[Problem, ...] = ()
        self._overlay: Overlay | ConfigError = Overlay()
        self._specs: Sequence[DomainSpec] | None = None
        """Last good set as its source brought it; it may wait for its overlay."""

    @property
    def has_domains(self) -> bool:
        """False before the first set, and while the set in force is empty."""
        return self.current is not None and bool(self.current.domains)

    def subscribe(self, notice: Callable[[], None]) -> None:
        """Have `notice` called after every change."""
        self._subscribers.append(notice)

    async def apply(self, news: News) -> ConfigError | None:
        """Put a set into force; return why not, if it was refused."""
        return await self._put(news, self._overlay)

    async def cover(self, overlay: Overlay | ConfigError) -> ConfigError | None:
        """Lay another overlay over the rules, those in force and those to come; return why not, if it was refused.

        A bad one does not replace a good one. Where there never was a good one, rules wait for it: without their
        overlay they would limit less.
        """
        if self._specs is None:
            self._overlay = overlay
            if isinstance(overlay, ConfigError):
                self._refuse(overlay)
                return overlay
            return None
        return await self._put(self._specs, overlay)

    async def _put(self, news: News, overlay: Overlay | ConfigError) -> ConfigError | None:
        try:
            rules, modes = await asyncio.to_thread(self._understand, news, overlay)
        except ConfigError as error:
            if error is overlay and not isinstance(news, ConfigError):
                self._specs = news
            self._refuse(error)
            return error
        self._overlay, self._specs = overlay, None if isinstance(news, ConfigError) else news
        self._accept(rules, modes)
        return None

    def _understand(self, news: News, overlay: Overlay | ConfigError) -> tuple[RuleSet, ModeSettings]:
        if isinstance(news, ConfigError):
            raise news
        if isinstance(overlay, ConfigError):
            raise overlay
        most = self._settings.config_rules_max
        if count(news, most) > most:
            raise ConfigError(
                [Problem(news[0].where.file, 0, f"more than {most} descriptors in all (CONFIG_RULES_MAX)")]
            )
        for layer in overlay.unused(news):
            log.warning("%s:%d: fits no limit", layer.where.file, layer.where.line)
        rules = tree.build(
            overlay.lay(news), merge=self._settings.merge_domain_config, show=self._show, home=self._home
        )
        try:
            return rules, read(ModeSettings)
        except SettingsError as error:
            raise ConfigError([Problem("environment", 0, str(error))]) from None

    def _accept(self, rules: RuleSet, modes: ModeSettings) -> None:
        for sentence in islice(changes(self.current, rules), _CHANGES_LOGGED_MAX) if self.current is not None else ():
            log.warning("%s", sentence)
        self.current, self.modes = rules, modes
        self.generation += 1
        self._last_problems = ()
        self._accepted.add()
        log.info("rules loaded: %d domains, generation %d", len(rules.domains), self.generation)
        for notice in self._subscribers:
            notice()

    def _refuse(self, error: ConfigError) -> None:
        self._refused.add()
        if error.problems == self._last_problems:
            log.error("Error loading new configuration: refused again, for the same %d problems", len(error.problems))
            return
        self._last_problems = error.problems
        most = self._settings.config_problems_logged_max
        for problem in error.problems[:most]:
            log.error("Error loading new configuration: %s", problem)
        if len(error.problems) > most:
            log.error("Error loading new configuration: and %d more problems", len(error.problems) - most)


def count(specs: Iterable[DomainSpec], most: int) -> int:
    """Count descriptors; stop above `most`."""
    number = 0
    waiting: list[Sequence[DescriptorSpec]] = [spec.descriptors for spec in specs]
    while waiting and number <= most:
        descriptors = waiting.pop()
        number += len(descriptors)
        waiting += [spec.descriptors for spec in descriptors if spec.descriptors]
    return number
