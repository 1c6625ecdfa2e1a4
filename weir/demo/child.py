"""A process of ours: started, waited for, and never left behind."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from serving.clock import Clock, SystemClock

LEASH = Path(__file__).with_name("leash.py")

# How often a start is looked at, and how much of a log is shown when it fails.
POLL_SECONDS = 0.02
NEWS_SECONDS = 0.1
TAIL_LINES = 15
TAIL_COLUMNS = 400

# Precedent: Envoy and the service are ready in under 2 s; a machine under load takes several times that.
START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 5.0


class ChildError(Exception):
    """A process ended, or did not become ready; the message has the end of its log."""


class Child:
    """One process, its log in a file; `is_piped` leaves its standard output to be read by us."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        is_piped: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self._log = log
        self._environment = environment or {}
        self._is_piped = is_piped
        self._clock = clock or SystemClock()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process, once started."""
        if self._process is None:
            raise ChildError(f"{self.name} was not started")
        return self._process

    @property
    def output(self) -> asyncio.StreamReader:
        """Its standard output, where that is piped."""
        if self.process.stdout is None:
            raise ChildError(f"the output of {self.name} goes to its log")
        return self.process.stdout

    async def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches us alone and we choose the order of stopping."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(LEASH), str(os.getpid()), *self.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if self._is_piped else log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )

    async def wait_until(
        self, ready: Callable[[], Awaitable[bool]], timeout_seconds: float = START_TIMEOUT_SECONDS
    ) -> None:
        """Wait for a condition.

        Raises:
            ChildError: the process ended first, or it took too long.
        """
        deadline = self._clock.steady() + timeout_seconds
        while not await ready():
            if self.process.returncode is not None:
                raise self._ended()
            if self._clock.steady() > deadline:
                raise ChildError(f"{self.name} was not ready after {timeout_seconds:.0f} s:\n{self.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    async def stay(self) -> None:
        """Wait for as long as it runs.

        Raises:
            ChildError: it ended.
        """
        await self.process.wait()
        raise self._ended()

    async def stop(self) -> None:
        """Ask it to end, then make it; does nothing for one that ended or was never started."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def news(self) -> AsyncIterator[str]:
        """Yield the whole lines that are added to its log from now on, for as long as somebody reads."""
        with self._log.open(errors="replace") as log:
            log.seek(0, os.SEEK_END)
            line = ""
            while True:
                line += log.readline()
                if line.endswith("\n"):
                    yield line.removesuffix("\n")
                    line = ""
                else:
                    await asyncio.sleep(NEWS_SECONDS)

    def tail(self) -> str:
        """Return the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join(line[:TAIL_COLUMNS] for line in lines)

    def _ended(self) -> ChildError:
        return ChildError(f"{self.name} ended with status {self.process.returncode}:\n{self.tail()}")
