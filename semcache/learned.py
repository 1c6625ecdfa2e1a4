"""What feedback taught, kept over restarts: a file that is replaced from time to time, and at the end."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

from semcache.judging import Judges
from serving.files import replace_file

log = logging.getLogger(__name__)


class Learned:
    """Reads the file at start and writes it behind."""

    def __init__(self, judges: Judges, path: Path, interval_seconds: float) -> None:
        self._judges = judges
        self._path = path
        self._interval_seconds = interval_seconds
        self._written = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what was learned before; a file that cannot be read is told and begun anew."""
        try:
            self._judges.restore(json.loads(await asyncio.to_thread(self._path.read_text)))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError) as error:
            log.warning("%s cannot be read, calibration begins anew: %s", self._path, error)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what was learned."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self._write()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            await self._write()

    async def _write(self) -> None:
        text = json.dumps(self._judges.state(), separators=(",", ":"))
        if text == self._written:
            return
        try:
            await asyncio.to_thread(self._replace, text)
            self._written = text
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)

    def _replace(self, text: str) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self._path, text)
