"""Everything that `weir run` runs, started and stopped in order.

curl ──▶ Envoy ──▶ upstream (in this process)
  ▲        └──▶ rate limit service (memory, a process of its own)
  └─ weir ask ──▶ semantic cache (Qdrant Edge, a process of its own; it may take a while, and nothing waits for it)
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from weir.demo.child import Child
from weir.demo.envoy import Envoy
from weir.demo.upstream import PAUSE_SECONDS, Upstream

HERE = Path(__file__).parent
# Resolved: in a checkout these are links to deploy/ and examples/, and it is those that a reader edits.
ENVOY_CONFIGURATION = (HERE / "envoy.yaml").resolve()
RULES = (HERE / "rules" / "token-budgets.yaml").resolve().parent

NAMESPACES = (HERE / "namespaces.yaml").resolve()

# The first time the model is fetched (83 MB) and exported, which takes a minute of one core.
CACHE_TIMEOUT_SECONDS = 600.0

# Every 429 makes Envoy warn that it has no tokens to charge; here that is no news.
ENVOY_OPTIONS = ["--log-level", "warning", "--component-log-level", "config:error"]
# One worker is enough, and a person who tries things out wants to see them at once.
ENVOY_OPTIONS += ["--concurrency", "1", "--file-flush-interval-msec", "50"]


def pick_port(preferred: int) -> int:
    """Return the preferred port of loopback where it is free, else any that is."""
    with socket.socket() as probe:
        # As servers bind, so that a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, all on loopback."""

    gateway: int
    grpc: int
    http: int
    debug: int
    metrics: int
    upstream: int
    cache: int = 0
    cache_http: int = 0

    @classmethod
    def pick(cls, gateway: int) -> Ports:
        """Prefer the ports that documents name."""
        return cls(*(pick_port(preferred) for preferred in (gateway, 8081, 8080, 6070, 9090, 8000, 8082, 8083)))


def environment(ports: Ports, rules: Path) -> dict[str, str]:
    """Return the settings of the rate limit service; what is not set here comes from ours."""
    return {
        "BACKEND_TYPE": "memory",
        "CONFIG_TYPE": "FILE",
        "RUNTIME_ROOT": str(rules.parent),
        "RUNTIME_SUBDIRECTORY": "",
        "RUNTIME_APPDIRECTORY": rules.name,
        "RUNTIME_WATCH_ROOT": "false",
        "HOST": "127.0.0.1",
        "PORT": str(ports.http),
        "GRPC_HOST": "127.0.0.1",
        "GRPC_PORT": str(ports.grpc),
        "DEBUG_HOST": "127.0.0.1",
        "DEBUG_PORT": str(ports.debug),
        "USE_STATSD": "false",
        "USE_PROMETHEUS": "true",
        "PROMETHEUS_ADDR": f"127.0.0.1:{ports.metrics}",
        # Nobody else is sent here, so nothing has to wait for health checks to notice.
        "DRAIN_DELAY": "0s",
        # What became of an edited rule file is shown; denials are shown with the exchange they belong to.
        "LOG_LEVEL": "INFO",
        "LOG_FORMAT": "text",
        "LOG_DENIALS_PER_SECOND": "0",
    }


def cache_environment(ports: Ports, folder: Path) -> dict[str, str]:
    """Return the settings of the cache; models are kept where they were exported to before."""
    return {
        "SEMCACHE_NAMESPACES_PATH": str(NAMESPACES),
        "SEMCACHE_EDGE_FOLDER": str(folder),
        "SEMCACHE_GRPC_HOST": "127.0.0.1",
        "SEMCACHE_GRPC_PORT": str(ports.cache),
        "SEMCACHE_HOST": "127.0.0.1",
        "SEMCACHE_PORT": str(ports.cache_http),
        "DISABLE_STATS": "true",
        "DRAIN_DELAY": "0s",
    }


def places(ports: Ports) -> dict[str, str]:
    """Return what stands here for the addresses in Envoy's configuration."""
    return {
        "0.0.0.0:10000": f"127.0.0.1:{ports.gateway}",
        "ratelimit:8081": f"127.0.0.1:{ports.grpc}",
        "upstream:8000": f"127.0.0.1:{ports.upstream}",
    }


class Stack:
    """All of them."""

    def __init__(self, program: str, rules: Path, ports: Ports, folder: Path) -> None:
        self.ports = ports
        self.rules = rules
        self.upstream = Upstream(f"127.0.0.1:{ports.upstream}", pause_seconds=PAUSE_SECONDS)
        self.ratelimit = Child(
            "The rate limit service",
            [sys.executable, "-m", "ratelimit"],
            folder / "ratelimit.log",
            environment=environment(ports, rules),
        )
        self.semcache = Child(
            "The semantic cache",
            [sys.executable, "-m", "semcache"],
            folder / "semcache.log",
            environment=cache_environment(ports, folder / "semcache"),
        )
        self.envoy = Envoy(program, ENVOY_CONFIGURATION, places(ports), folder, options=ENVOY_OPTIONS, is_piped=True)

    @property
    def gateway(self) -> str:
        """The address that requests go to."""
        return f"http://127.0.0.1:{self.ports.gateway}"

    @property
    def service(self) -> str:
        """The address of the rate limit service."""
        return f"127.0.0.1:{self.ports.grpc}"

    @property
    def cache(self) -> str:
        """The address of the cache."""
        return f"127.0.0.1:{self.ports.cache}"

    async def start(self) -> None:
        """Start all, each when what it needs is ready; the cache is waited for by `until_cached`.

        Raises:
            ChildError: one of them did not start.
        """
        await self.upstream.start()
        await self.ratelimit.start()
        await self.ratelimit.wait_until(lambda: is_healthy(self.ports.http))
        await self.envoy.start()
        await self.semcache.start()

    async def until_cached(self) -> None:
        """Wait until the cache answers.

        Raises:
            ChildError: it did not start.
        """
        await self.semcache.wait_until(lambda: is_healthy(self.ports.cache_http), CACHE_TIMEOUT_SECONDS)

    async def stop(self) -> None:
        """Stop what runs: first what asks, then what is asked."""
        await self.envoy.stop()
        await self.semcache.stop()
        await self.ratelimit.stop()
        await self.upstream.stop()


async def is_healthy(port: int) -> bool:
    """Return whether a service says so on its HTTP port."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/healthcheck") as response,
        ):
            return response.status == 200
    except aiohttp.ClientError:
        return False
