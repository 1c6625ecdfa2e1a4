"""A real Envoy with a file of deploy/envoy, on free ports, its statistics at hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from weir.demo.envoy import Envoy, find_envoy

DEPLOY = Path(__file__).parents[2] / "deploy" / "envoy"
LISTENER = "gateway"

# For tests of what is answered and not how fast: a machine under load may need more than Envoy's 20 ms.
PATIENT = {"0.02s": "5s", "0.25s": "5s", "0.5s": "5s"}

# One worker, so that what one worker knows all know; nobody waits for the access log.
OPTIONS = ("--log-level", "warning", "--concurrency", "1", "--file-flush-interval-msec", "50")


class Gateway(Envoy):
    """`places` as in `readdress`: the addresses and files of the configuration, and what stands for them here."""

    def __init__(self, configuration: str | Path, places: Mapping[str, str], folder: Path) -> None:
        places = {"0.0.0.0:10000": "127.0.0.1:0", **places}
        super().__init__(find_envoy(), DEPLOY / configuration, places, folder, options=OPTIONS)
        self.url = ""

    async def start(self) -> None:
        await super().start()
        self.url = f"http://{await self.address(LISTENER)}"

    async def stat(self, name: str) -> int:
        """Return a counter or a gauge; 0 for one that was never touched."""
        stats = json.loads(await self.page(f"/stats?format=json&filter=^{name}$"))["stats"]
        return next((int(each["value"]) for each in stats if "value" in each), 0)

    async def healthy(self, cluster: str) -> Sequence[bool]:
        """Return what Envoy thinks of each host of a cluster, in the order of their ports."""
        statuses = json.loads(await self.page("/clusters?format=json"))["cluster_statuses"]
        hosts = next(each.get("host_statuses", []) for each in statuses if each["name"] == cluster)
        hosts.sort(key=lambda host: host["address"]["socket_address"]["port_value"])
        return [not host["health_status"].get("failed_active_health_check", False) for host in hosts]


async def eventually(question: Callable[[], Awaitable[bool]], timeout_seconds: float = 20.0) -> None:
    """Wait until something is true; fail if it never is."""
    async with asyncio.timeout(timeout_seconds):
        while not await question():  # noqa: ASYNC110 - what changes is another process
            await asyncio.sleep(0.02)
