"""Services under load, each pinned to its core and stopped by its pid."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from protos.interop.rls.v1 import rls_pb2
from tests.fakes.certificates import issue, make_ca
from tests.fakes.ports import free_port

SERVICE_CORE = "0"
LOAD_CORE = REDIS_CORE = "1"
ALL_CORES = "0,1"
PATH = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

RULES = """\
domain: bench
descriptors:
  - {key: key0, rate_limit: {unit: hour, requests_per_unit: 4000000000}}
  - {key: key1, rate_limit: {unit: hour, requests_per_unit: 4000000000}}
  - {key: key2, rate_limit: {unit: hour, requests_per_unit: 4000000000}}
  - {key: key3, rate_limit: {unit: hour, requests_per_unit: 4000000000}}
"""


@dataclass(frozen=True, slots=True)
class Service:
    """A process that answers ShouldRateLimit."""

    port: int
    pid: int
    ca: Path | None = None
    """Whom its certificate is from, where it serves TLS."""

    @property
    def url(self) -> str:
        """Return the method as h2load wants it."""
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}{PATH}"

    @property
    def resident_mib(self) -> float:
        """Return the resident memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def ask(self, message: bytes) -> rls_pb2.RateLimitResponse:
        """Send one call, as a check that load measures answers and not errors."""
        with self._channel() as channel:
            ask: Callable[..., bytes] = channel.unary_unary(PATH)
            return rls_pb2.RateLimitResponse.FromString(ask(message, timeout=5, wait_for_ready=True))

    def _channel(self) -> grpc.Channel:
        if self.ca is None:
            return grpc.insecure_channel(f"127.0.0.1:{self.port}")
        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes())
        return grpc.secure_channel(f"localhost:{self.port}", credentials)


def tls(folder: Path) -> dict[str, str]:
    """Write a certificate, and return the settings that serve it."""
    folder = folder / "tls"
    folder.mkdir(exist_ok=True)
    issued = issue(make_ca(folder), ["localhost"])
    return {
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": str(issued.certificate),
        "GRPC_SERVER_TLS_KEY": str(issued.key),
    }


def request(descriptors: int, value: str = "value") -> bytes:
    """Return a request with so many descriptors of one entry."""
    message = rls_pb2.RateLimitRequest(domain="bench")
    for number in range(descriptors):
        message.descriptors.add().entries.add(key=f"key{number}", value=value)
    return message.SerializeToString()


@contextmanager
def process(core: str, command: list[str], env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on one core while the block lasts."""
    child = subprocess.Popen(
        ["taskset", "-c", core, *command],
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=None if os.environ.get("BENCH_LOGS") else subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run a redis-server without persistence; yields its Unix socket."""
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    with process(REDIS_CORE, ["redis-server", *options]):
        wait_for(path.exists)
        yield str(path)


@contextmanager
def nothing(*options: str) -> Iterator[Service]:
    """Run the server that does nothing; `front` for that of the front alone."""
    port = free_port()
    with process(SERVICE_CORE, [sys.executable, "-m", "bench.nothing", str(port), *options]) as child:
        service = Service(port, child.pid)
        service.ask(b"")
        yield service


def environment(folder: Path) -> dict[str, str]:
    """Write the rules above below a folder, and return the settings that every run shares; metrics are on."""
    config = folder / "rules" / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "bench.yaml").write_text(RULES)
    return {
        "PORT": "0", "DEBUG_PORT": "0", "RUNTIME_ROOT": str(folder / "rules"), "RUNTIME_WATCH_ROOT": "false",
        "USE_STATSD": "false", "USE_PROMETHEUS": "true", "PROMETHEUS_ADDR": "127.0.0.1:0", "DRAIN_DELAY": "0",
    }  # fmt: skip


def stores(socket: str) -> dict[str, dict[str, str]]:
    """Return the settings of each place that counters live in."""
    return {
        "redis": {"BACKEND_TYPE": "redis", "REDIS_SOCKET_TYPE": "unix", "REDIS_URL": socket},
        "memory": {"BACKEND_TYPE": "memory"},
    }


@contextmanager
def ratelimit(
    folder: Path, env: Mapping[str, str], *, core: str = SERVICE_CORE, er: Path | None = None
) -> Iterator[Service]:
    """Run our service over the rules above, or the binary of ER, which takes the same settings."""
    port = free_port()
    settings = {"GRPC_PORT": str(port), **environment(folder), **env}
    ca = Path(env["GRPC_SERVER_TLS_CERT"]).with_name("ca.pem") if "GRPC_SERVER_TLS_CERT" in env else None
    with process(core, [str(er)] if er else [sys.executable, "-m", "ratelimit"], settings) as child:
        service = Service(port, child.pid, ca)
        wait_for(lambda: service.ask(request(1)).statuses[0].HasField("current_limit"))
        yield service


def wait_for(is_ready: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until `is_ready()` is true.

    Raises:
        TimeoutError: it is not, within `seconds`.
    """
    end = time.perf_counter() + seconds
    while True:
        try:
            if is_ready():
                return
        except grpc.RpcError:
            pass
        if time.perf_counter() > end:
            raise TimeoutError("the service under load did not come up")
        time.sleep(0.02)
