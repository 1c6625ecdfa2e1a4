"""Hints that something in a folder may have changed: from the system, or because it is time to look."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

from watchfiles import awatch

log = logging.getLogger(__name__)

# How long the watching thread gathers events before it hands them on, and how often it looks whether to stop.
STEP_MS = 50
GATHER_MS = 200


class Watch:
    """Follows a set of folders, not what is below them."""

    def __init__(self, poll_seconds: float, *, is_told: bool) -> None:
        self._poll_seconds = poll_seconds
        self._is_told = is_told
        self._folders: frozenset[Path] = frozenset()
        self._hinted = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def follow(self, folders: Iterable[Path]) -> None:
        """Listen to these folders from now on; those that do not exist are stood for by the next above them."""
        wanted = frozenset(existing(folder) for folder in folders)
        if not self._is_told or (wanted == self._folders and self._task and not self._task.done()):
            return
        await self.stop()
        self._folders, self._stopping = wanted, asyncio.Event()
        self._task = asyncio.create_task(self._listen(wanted, self._stopping))
        # The task's first step, up to its first wait, opens the watch: what changes from here on is told.
        await asyncio.sleep(0)

    async def wait(self) -> None:
        """Return at the next hint, or when it is time to look."""
        # Not wait_for: in Python 3.11 that forgets a cancellation which comes together with the hint.
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._hinted.wait()
        except TimeoutError:
            return
        self._hinted.clear()

    async def stop(self) -> None:
        """Stop listening."""
        self._stopping.set()
        if self._task:
            await self._task
            self._task = None

    async def _listen(self, folders: Iterable[Path], stopping: asyncio.Event) -> None:
        hints = awatch(
            *folders,
            watch_filter=None,
            debounce=GATHER_MS,
            step=STEP_MS,
            stop_event=stopping,
            recursive=False,
            ignore_permission_denied=True,
        )
        try:
            async for _ in hints:
                self._hinted.set()
        except (OSError, RuntimeError) as error:
            log.warning("the system does not tell of changes (%s); looking every %g s", error, self._poll_seconds)


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above that exists."""
    return next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
