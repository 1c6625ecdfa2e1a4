"""Follows a file, or a folder of files: tells when it changed and has come to rest.

    hint, or time to look ──▶ state of the file ──▶ differs? ──▶ still? ──▶ changed()

Links are followed: a mounted ConfigMap changes by where they lead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from serving.watch import Watch

_log = logging.getLogger(__name__)

# A file must have been still for so long before it is read, for writers that write in pieces; after so many looks it
# is read all the same.
_SETTLE_SECONDS = 0.05
_LOOKS_MAX = 20


class Following:
    """One file, and what is done when it changes."""

    def __init__(
        self,
        path: Path,
        changed: Callable[[], Awaitable[object]],
        *,
        poll_seconds: float,
        is_told: bool,
        members: Callable[[Path], Sequence[Path]] | None = None,
    ) -> None:
        """With `members`, the path may be a folder, and what these say of it is followed too."""
        self._path = path
        self._changed = changed
        self._members = members
        self._watch = Watch(poll_seconds, is_told=is_told)
        self._poll_seconds = poll_seconds
        self._seen = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the file as it is, call `changed` once, and follow it from here on."""
        self._seen = await asyncio.to_thread(self._state)
        await self._changed()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._watch.stop()

    async def _run(self) -> None:
        while True:
            try:
                await self._watch.follow({self._path, self._path.parent, self._path.resolve().parent})
                if await self._has_changed():
                    await self._changed()
                else:
                    await self._watch.wait()
            except Exception:  # noqa: BLE001 - who followed no more would leave the old content in force for ever
                _log.exception("following %s", self._path)
                await asyncio.sleep(self._poll_seconds)

    async def _has_changed(self) -> bool:
        now = await asyncio.to_thread(self._state)
        if now == self._seen:
            return False
        for _ in range(_LOOKS_MAX):
            await asyncio.sleep(_SETTLE_SECONDS)
            last, now = now, await asyncio.to_thread(self._state)
            if last == now:
                break
        # Before it is read: what moves while it is read is seen at the next look.
        self._seen = now
        return True

    def _state(self) -> str:
        try:
            members = self._members(self._path) if self._members is not None else ()
        except OSError as error:
            return str(error.strerror)
        return "\n".join(map(state_of, (self._path, *members)))


def state_of(path: Path) -> str:
    """Return what changes whenever the file does; the change time moves with everything, chmod included."""
    try:
        status = path.stat()
    except OSError as error:
        return str(error.strerror)
    return f"{path.resolve()} {status.st_dev} {status.st_ino} {status.st_size} {status.st_ctime_ns}"
