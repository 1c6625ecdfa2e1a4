"""The processes that the runner starts: servers under test and real Redis servers."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import redis

from serving.clock import SystemClock
from tests.fakes.ports import free_port

START_BOUND_SECONDS = 30.0
STOP_BOUND_SECONDS = 10.0
PROJECT = Path(__file__).parents[2]
_KEPT = frozenset({"PATH", "HOME"})


class Process:
    """A child process whose output goes to a file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        # Nothing else of ours, or it would be settings of the server; but `make cover` measures that, too.
        kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("COVERAGE_")}
        self._environment = {"HOME": "/", **kept, **environment}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=PROJECT, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def read_log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for_port(self, port: int) -> None:
        """Wait until the process listens.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        clock = SystemClock()
        end = clock.steady() + START_BOUND_SECONDS
        while not self.has_ended() and clock.steady() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{' '.join(self._command)} did not listen on {port}; it wrote:\n{self.read_log()[-4000:]}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_BOUND_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """Run a Redis that keeps nothing on disk; yield its port."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory(prefix="conformance-redis-") as folder:
        process = Process([*command, "--dir", folder], {}, Path(folder) / "log")
        process.start()
        try:
            process.wait_for_port(port)
            yield port
        finally:
            process.stop()


@contextlib.contextmanager
def redis_client(port: int, host: str = "127.0.0.1") -> Iterator[redis.Redis]:
    client = redis.Redis(host=host, port=port, decode_responses=True)
    try:
        yield client
    finally:
        client.close()
