"""Both services in one process: one event loop, one page of metrics, a port and a health each."""

from __future__ import annotations

import logging
import os
import sys

import uvloop

from ratelimit import app as ratelimit
from ratelimit import settings as ratelimit_settings
from ratelimit.errors import RatelimitError
from semcache import app as semcache
from semcache import settings as semcache_settings
from semcache.errors import SemcacheError
from serving import collector
from serving.clock import SystemClock
from serving.descriptors import open_all_that_may_be
from serving.environment import names_of, remarks
from serving.health import Health
from serving.lifecycle import Lifecycle
from serving.logs import configure
from serving.settings import SettingsError

_log = logging.getLogger(__name__)


class Together(Health):
    """Healths of several services, which drain and close as one; each answers its own callers by itself."""

    def __init__(self, *members: Health) -> None:
        super().__init__()
        self._members = members

    def up(self, component: str) -> None:
        """Say it to all."""
        for member in self._members:
            member.up(component)

    def down(self, component: str) -> None:
        """Say it to all."""
        for member in self._members:
            member.down(component)

    def close(self) -> None:
        """End who watches any of them."""
        for member in self._members:
            member.close()


async def serve(limits: ratelimit_settings.Settings, cache: semcache_settings.Settings) -> None:
    """Serve until a signal."""
    clock = SystemClock()
    first = ratelimit.Service(limits, clock)
    second = semcache.Service(cache, clock, first.registry)
    lifecycle = limits.lifecycle
    # The cache last: it is loading a model while rate limits are served already.
    await Lifecycle(
        [*first.parts(), *second.parts()],
        Together(first.health, second.health),
        delay_seconds=lifecycle.drain_delay,
        grace_seconds=lifecycle.drain_grace,
    ).run()


def main() -> int:
    """Serve under the environment; return the exit status."""
    try:
        limits, cache = _load()
        configure(limits.log)
        for remark in environment_remarks():
            _log.warning(remark)
        collector.settle()
        open_all_that_may_be()
        uvloop.run(serve(limits, cache))
    except (SettingsError, RatelimitError, SemcacheError, OSError) as error:
        print(f"weir: {error}", file=sys.stderr)
        return 1
    return 0  # pragma: no cover - reached, but tracing is out of step once uvloop has cancelled a task


def environment_remarks() -> list[str]:
    """List names in the environment that do nothing in either service, or look misspelt."""
    groups = (*ratelimit_settings.GROUPS, *semcache_settings.GROUPS)
    prefixes = (*ratelimit_settings.OUR_PREFIXES, *semcache_settings.OUR_PREFIXES)
    return remarks(tuple(os.environ), names_of(groups), prefixes=prefixes, absent=ratelimit_settings.ABSENT)


def _load() -> tuple[ratelimit_settings.Settings, semcache_settings.Settings]:
    limits = ratelimit_settings.load()
    if limits.lifecycle.workers > 1:
        raise SettingsError("WORKERS: both services are one process; serve them apart to have several")
    return limits, semcache_settings.load()
