"""The namespaces in force: read at start, and again when their files change.

    hint, or time to look ──▶ fingerprint ──▶ differs, and is still ──▶ load ──▶ in force | refused, the old ones stay

A first set with a problem ends the start: a cache that quietly serves nobody is found late.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from semcache.config.files import list_files, load
from semcache.errors import ConfigError
from semcache.namespaces import Namespaces
from semcache.settings import NamespaceSettings
from serving.following import Following
from serving.metrics import Registry

log = logging.getLogger(__name__)


class NamespaceSource:
    """Holds the last good set."""

    def __init__(self, settings: NamespaceSettings, registry: Registry) -> None:
        self.current = Namespaces()
        self.generation = 0
        """Grows with every set that comes into force."""
        self._settings = settings
        self._path = Path(settings.path)
        self._accepted = registry.counter("weir.semcache.config.loaded")
        self._refused = registry.counter("weir.semcache.config.refused")
        self._following = Following(
            self._path,
            self._load,
            poll_seconds=settings.poll_interval,
            is_told=settings.watch == "auto",
            members=list_files,
        )
        self._subscribers: list[Callable[[], None]] = []

    def subscribe(self, notice: Callable[[], None]) -> None:
        """Have `notice` called after every change."""
        self._subscribers.append(notice)

    async def start(self) -> None:
        """Load the set, and watch its files.

        Raises:
            ConfigError: the set has problems, or no file is named.
        """
        if not self._settings.path:
            raise ConfigError(
                "SEMCACHE_NAMESPACES_PATH: names no file; a cache serves the namespaces in it and no others"
            )
        self._accept(await asyncio.to_thread(load, self._path, self._settings))
        await self._following.start()

    async def stop(self) -> None:
        """Watch no more."""
        await self._following.stop()

    async def _load(self) -> None:
        try:
            namespaces = await asyncio.to_thread(load, self._path, self._settings)
        except ConfigError as error:
            self._refused.add()
            log.error("the namespaces are refused, the old ones stay in force:\n%s", error)  # noqa: TRY400 - the words are all there is
            return
        if namespaces.members != self.current.members:
            self._accept(namespaces)

    def _accept(self, namespaces: Namespaces) -> None:
        self.current = namespaces
        self.generation += 1
        self._accepted.add()
        log.info("namespaces loaded: %d, generation %d", len(namespaces.members), self.generation)
        for notice in self._subscribers:
            notice()
