"""Rules from files, read again when they change.

    hint, or time to look ──▶ fingerprint ──▶ differs? ──▶ still? ──▶ read all files ──▶ apply

1. The fingerprint decides; a hint of the system only makes us look sooner. What nobody tells of
   (network file systems, replaced mounts) is seen at the next look.
2. Watching the root (RUNTIME_WATCH_ROOT) sees only where links lead: that of RUNTIME_ROOT, and
   the `..data` of a mounted ConfigMap. A tree under construction is therefore not read.
   Otherwise every file counts: written, made, removed, renamed, chmod.
3. A set is one unit: where something moved while it was read, it is read once more.
4. A folder that is missing is a refused set, not an empty one: a mount that went away must not
   take all limits with it. It is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import TypeAlias

from ratelimit.config.files import FileBounds, Listing, list_files, read_files
from ratelimit.errors import ConfigError
from ratelimit.rules import Show, plainly
from ratelimit.settings import ConfigSettings
from ratelimit.source import Apply, News
from serving.watch import Watch

log = logging.getLogger(__name__)

# Files that never stand still are read all the same, after so many looks; a set that moves under our eyes so many
# times is delivered as it is, and read again at the next look.
LOOKS_MAX = 20
READS_MAX = 3

Fingerprint: TypeAlias = tuple[tuple[str, ...], ...]


class FileSource:
    """A folder of rule files."""

    def __init__(self, settings: ConfigSettings, apply: Apply, show: Show = plainly) -> None:
        self._settings = settings
        self._show = show
        self._apply = apply
        root = Path(settings.runtime_root)
        self._folder = root / settings.runtime_subdirectory / settings.runtime_appdirectory
        self._ways = (root, root / settings.runtime_subdirectory, self._folder)
        self._watch = Watch(settings.config_poll_interval, is_told=settings.config_watch == "auto")
        self._seen: Fingerprint = ()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the files once, and watch them."""
        await self._load()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Watch no more."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._watch.stop()

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except Exception:  # a watcher that died would leave old rules in force for ever
                log.exception("watching %s", self._folder)
                await asyncio.sleep(self._settings.config_poll_interval)

    async def _turn(self) -> None:
        await self._watch.follow(await asyncio.to_thread(self._folders))
        if await self._has_changed():
            await self._load()
        else:
            await self._watch.wait()

    async def _has_changed(self) -> bool:
        now = await asyncio.to_thread(self._fingerprint)
        if now == self._seen:
            return False
        for _ in range(LOOKS_MAX):
            await asyncio.sleep(self._settings.config_settle_time)
            last, now = now, await asyncio.to_thread(self._fingerprint)
            if last == now:
                break
        return True

    async def _load(self) -> None:
        news, self._seen = await asyncio.to_thread(self._read)
        await self._apply(news)

    def _read(self) -> tuple[News, Fingerprint]:
        for _ in range(READS_MAX):
            before = self._fingerprint()
            news = self._files()
            if self._fingerprint() == before:
                break
        return news, before

    def _files(self) -> News:
        settings = self._settings
        try:
            return read_files(
                self._folder,
                ignore_dotfiles=settings.runtime_ignoredotfiles,
                merge=settings.merge_domain_config,
                bounds=FileBounds.of(settings),
                show=self._show,
            )
        except ConfigError as error:
            return error

    def _listing(self) -> Listing:
        settings = self._settings
        return list_files(
            self._folder, ignore_dotfiles=settings.runtime_ignoredotfiles, files_max=settings.config_files_max
        )

    def _fingerprint(self) -> Fingerprint:
        if self._settings.runtime_watch_root:
            links = (path for way in self._ways for path in (way, way / "..data"))
            return tuple(_identity(path) for path in links)
        try:
            listing = self._listing()
        except ConfigError as error:
            return ((str(error),),)
        return tuple(_state(path) for path in (*listing.folders, *listing.files))

    def _folders(self) -> tuple[Path, ...]:
        if self._settings.runtime_watch_root:
            return (self._ways[0].parent, *self._ways)
        try:
            return (*self._ways, *self._listing().folders)
        except ConfigError:
            return self._ways


def _identity(path: Path) -> tuple[str, ...]:
    """Tell where a path leads, and that it is still the same folder there."""
    try:
        status = path.stat()
    except OSError as error:
        return (str(path), str(error.strerror))
    return (os.path.realpath(path), str(status.st_dev), str(status.st_ino))


def _state(path: Path) -> tuple[str, ...]:
    """Tell what a file or folder is like: any change of it changes this."""
    try:
        status = path.stat()
    except OSError as error:
        return (str(path), str(error.strerror))
    # The change time moves with everything, chmod included.
    return (str(path), str(status.st_dev), str(status.st_ino), str(status.st_size), str(status.st_ctime_ns))
