"""Real servers as processes of a test: the rate limit service and a Redis."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fakes.ports import free_port
from weir.demo.child import Child

HEALTH_TIMEOUT_SECONDS = 1.0


class RatelimitProcess(Child):
    """`python -m ratelimit` with rules of its own; `environment` adds to what a test always wants."""

    def __init__(
        self, folder: Path, rules: str, environment: Mapping[str, str], port: int = 0, *, is_piped: bool = False
    ) -> None:
        self.port = port or free_port()
        self.target = f"127.0.0.1:{self.port}"
        (folder / "config").mkdir(parents=True, exist_ok=True)
        (folder / "config" / "rules.yaml").write_text(rules)
        wanted = {
            "BACKEND_TYPE": "memory",
            "RUNTIME_ROOT": str(folder),
            "RUNTIME_SUBDIRECTORY": "",
            "RUNTIME_WATCH_ROOT": "false",
            "HOST": "127.0.0.1",
            "PORT": "0",
            "DEBUG_HOST": "127.0.0.1",
            "DEBUG_PORT": "0",
            "GRPC_HOST": "127.0.0.1",
            "GRPC_PORT": str(self.port),
            "USE_STATSD": "false",
            "DRAIN_DELAY": "0s",
            **environment,
        }
        command = [sys.executable, "-m", "ratelimit"]
        self.log = folder / "ratelimit.log"
        super().__init__("ratelimit", command, self.log, environment=wanted, is_piped=is_piped)
        self._credentials: grpc.ChannelCredentials | None = None

    def trust(self, certificate: Path, key: Path, ca: Path) -> None:
        """Ask for health by mutual TLS."""
        self._credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), certificate.read_bytes())

    async def start(self) -> None:
        await super().start()
        await self.wait_until(self.is_serving)

    async def is_serving(self) -> bool:
        """Ask as Envoy's gRPC health checks ask."""
        async with self._channel() as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                request = health_pb2.HealthCheckRequest(service="ratelimit")
                answer = await stub.Check(request, timeout=HEALTH_TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def resident_mib(self) -> float:
        """Return what it holds of the machine's memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096 / 1024 / 1024

    def _channel(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self.target)
        name = [("grpc.ssl_target_name_override", "ratelimit")]
        return grpc.aio.secure_channel(self.target, self._credentials, name)


class RedisProcess(Child):
    """A Redis on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "redis.sock"
        server = shutil.which("redis-server") or shutil.which("valkey-server") or "redis-server"
        command = [server, "--port", "0", "--unixsocket", str(self.path), "--save", "", "--dir", str(folder)]
        super().__init__("redis", command, folder / "redis.log")

    async def start(self) -> None:
        await super().start()
        await self.wait_until(self._is_listening)

    async def _is_listening(self) -> bool:
        return self.path.exists()

    def stall(self) -> None:
        """Have it accept and never answer."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
