"""Rules from files, read again when they change.

    every POLL_SECONDS: fingerprint ──▶ differs? ──▶ the same twice? ──▶ read all files ──▶ apply

1. Looking is by `stat`, not by inotify: network file systems, folders that do not exist yet and
   replaced mounts are seen like everything else, a quarter of a second late.
2. Watching the root (RUNTIME_WATCH_ROOT) sees only where the link RUNTIME_ROOT leads, so that
   a tree under construction is not read; otherwise every file counts: written, made, removed,
   renamed, chmod.
3. A set is read only once it stood still for one look: half a copy is not a configuration.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TypeAlias

from ratelimit.config.files import FileBounds, read_files
from ratelimit.config.source import Apply, News
from ratelimit.errors import ConfigError
from ratelimit.settings import ConfigSettings

POLL_SECONDS = 0.25

Fingerprint: TypeAlias = tuple[tuple[str, int, int, int, int], ...]


class FileSource:
    """A folder of rule files."""

    def __init__(self, settings: ConfigSettings, apply: Apply, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._settings = settings
        self._apply = apply
        self._poll_seconds = poll_seconds
        self._root = Path(settings.runtime_root)
        self._folder = self._root / settings.runtime_subdirectory / settings.runtime_appdirectory
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the files once, and watch them."""
        seen = self._fingerprint()
        await self._apply(self._read())
        self._watching = asyncio.create_task(self._watch(seen))

    async def stop(self) -> None:
        """Watch no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self, loaded: Fingerprint) -> None:
        last = loaded
        while True:
            await asyncio.sleep(self._poll_seconds)
            now = await asyncio.to_thread(self._fingerprint)
            if now != loaded and now == last:
                loaded = now
                await self._apply(await asyncio.to_thread(self._read))
            last = now

    def _read(self) -> News:
        settings = self._settings
        try:
            return read_files(
                self._folder,
                ignore_dotfiles=settings.runtime_ignoredotfiles,
                merge=settings.merge_domain_config,
                bounds=FileBounds.of(settings),
            )
        except ConfigError as error:
            return error

    def _fingerprint(self) -> Fingerprint:
        if self._settings.runtime_watch_root:
            return ((os.path.realpath(self._root), 0, 0, 0, 0),)
        found: list[tuple[str, int, int, int, int]] = []
        for folder, _, names in os.walk(self._folder, followlinks=True):
            for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - text is what is compared
                try:
                    told = os.stat(path)  # noqa: PTH116 - links are followed: a ConfigMap's files are links
                except OSError:
                    continue
                found.append((path, told.st_mtime_ns, told.st_size, told.st_mode, told.st_ino))
        return tuple(sorted(found))
