"""The namespaces in force: read at start, and again when their files change.

    hint, or time to look ──▶ fingerprint ──▶ differs, and is still ──▶ load ──▶ in force | refused, the old ones stay

A first set with a problem ends the start: a cache that quietly serves nobody is found late.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from semcache.config.files import list_files, load
from semcache.errors import ConfigError
from semcache.namespaces import Namespaces
from semcache.settings import NamespaceSettings
from serving.metrics import Registry
from serving.watch import Watch

log = logging.getLogger(__name__)

# Files must have been still for so long before they are read, for writers that write in pieces; after so many looks
# they are read all the same.
_SETTLE_SECONDS = 0.05
_LOOKS_MAX = 20

Fingerprint: TypeAlias = tuple[tuple[str | int, ...], ...]


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
        self._watch = Watch(settings.poll_interval, is_told=settings.watch == "auto")
        self._subscribers: list[Callable[[], None]] = []
        self._seen: Fingerprint = ()
        self._task: asyncio.Task[None] | None = None

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
        self._seen = await asyncio.to_thread(self._fingerprint)
        self._accept(await asyncio.to_thread(load, self._path, self._settings))
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Watch no more."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._watch.stop()

    async def _run(self) -> None:
        while True:
            await self._watch.follow({self._path, self._path.parent})
            if await self._has_changed():
                await self._load()
            else:
                await self._watch.wait()

    async def _has_changed(self) -> bool:
        now = await asyncio.to_thread(self._fingerprint)
        if now == self._seen:
            return False
        for _ in range(_LOOKS_MAX):
            await asyncio.sleep(_SETTLE_SECONDS)
            last, now = now, await asyncio.to_thread(self._fingerprint)
            if last == now:
                break
        return True

    async def _load(self) -> None:
        # Taken before reading: what moves while it is read is seen at the next look.
        self._seen = await asyncio.to_thread(self._fingerprint)
        try:
            self._accept(await asyncio.to_thread(load, self._path, self._settings))
        except ConfigError as error:
            self._refused.add()
            log.error("the namespaces are refused, the old ones stay in force:\n%s", error)  # noqa: TRY400 - the words are all there is

    def _accept(self, namespaces: Namespaces) -> None:
        self.current = namespaces
        self.generation += 1
        self._accepted.add()
        log.info("namespaces loaded: %d, generation %d", len(namespaces.members), self.generation)
        for notice in self._subscribers:
            notice()

    def _fingerprint(self) -> Fingerprint:
        try:
            return tuple(_state(path) for path in (self._path, *list_files(self._path)))
        except OSError as error:
            return ((str(error.strerror),),)


def _state(path: Path) -> tuple[str | int, ...]:
    status = path.stat()
    # Links are followed: a mounted ConfigMap changes by where they lead. The change time moves with everything.
    return (str(path), status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
