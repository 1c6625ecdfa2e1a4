"""Load over gRPC by h2load, pinned to one core, and what it measured."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.services import LOAD_CORE

HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of load."""

    calls: int
    failed: int
    seconds: float
    latencies_ms: tuple[float, ...] = ()
    """Sorted; empty unless asked for."""

    @property
    def per_second(self) -> float:
        """Calls a second that succeeded."""
        return (self.calls - self.failed) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency in ms that `share` of the calls stayed within."""
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(share * len(self.latencies_ms)))]


def framed(message: bytes) -> bytes:
    """Return a gRPC message with its five-byte prefix."""
    return b"\0" + struct.pack(">I", len(message)) + message


def throughput(url: str, message: bytes, *, calls: int, connections: int = 4, streams: int = 32) -> Run:
    """Send `calls` as fast as they are answered (closed loop)."""
    return _run(url, message, ["-n", str(calls), "-c", str(connections), "-m", str(streams)], calls)


def paced(url: str, message: bytes, *, calls_per_second: int, seconds: float, connections: int = 4) -> Run:
    """Send at a fixed rate whatever the answers do (open loop), and keep every latency."""
    calls = int(calls_per_second * seconds)
    rate = calls_per_second // connections
    options = ["-n", str(calls), "-c", str(connections), "-m", "256", f"--rps={rate}"]
    return _run(url, message, options, calls, wants_latencies=True)


def lone(url: str, message: bytes, *, calls: int) -> Run:
    """Send one call after the other, each when the last was answered, and keep every latency."""
    return _run(url, message, ["-n", str(calls), "-c", "1", "-m", "1"], calls, wants_latencies=True)


def _run(url: str, message: bytes, options: list[str], calls: int, *, wants_latencies: bool = False) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(framed(message))
        if wants_latencies:
            options = [*options, f"--log-file={log}"]
        command = ["taskset", "-c", LOAD_CORE, "h2load", *options, "-d", str(body), *HEADERS, url]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
        latencies = tuple(sorted(int(line.split("\t")[2]) / 1000 for line in log.open())) if wants_latencies else ()
    return _parse(told, calls, latencies)


def _parse(told: str, calls: int, latencies: tuple[float, ...]) -> Run:
    finished = re.search(r"finished in ([\d.]+)(us|ms|s|m)", told)
    succeeded = re.search(r"(\d+) succeeded", told)
    if finished is None or succeeded is None:
        raise RuntimeError(f"h2load said: {told}")
    seconds = float(finished[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[finished[2]]
    return Run(calls, calls - int(succeeded[1]), seconds, latencies)
