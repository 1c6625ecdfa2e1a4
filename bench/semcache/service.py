"""The service on one core, asked over gRPC from another: exact hits, semantic lookups, and as many as it takes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from bench.semcache.filling import NAMESPACE, TENANT, percentiles
from bench.services import process
from protos.semcache.v1 import semcache_pb2
from tests.fakes.ports import free_port

LOOKUP = "/weir.semcache.v1.SemanticCacheService/Lookup"
NAMESPACES = f"""\
namespaces:
  - name: {NAMESPACE}
    explore: 0.0
    entries_max: 10000000
    callers: [{{anyone: true, roles: [lookup, store, administer]}}]
"""


@dataclass
class Service:
    """One process with its channel."""

    pid: int
    channel: grpc.aio.Channel

    async def lookup(self, prompt: str) -> semcache_pb2.LookupResponse:
        """Ask for one prompt."""
        message = semcache_pb2.LookupRequest(
            namespace=NAMESPACE,
            scope=semcache_pb2.Scope(tenant=TENANT),
            prompt=semcache_pb2.Prompt(text=prompt),
        )
        answer: semcache_pb2.LookupResponse = await self._call(message, timeout=10)
        return answer

    def __post_init__(self) -> None:
        """Make the call once."""
        self._call = self.channel.unary_unary(
            LOOKUP,
            request_serializer=semcache_pb2.LookupRequest.SerializeToString,
            response_deserializer=semcache_pb2.LookupResponse.FromString,
        )

    @property
    def processor_seconds(self) -> float:
        """Return the processor time of the service and its engine so far."""
        return sum(_processor_seconds(pid) for pid in [self.pid, *_children(self.pid)])


@asynccontextmanager
async def running(folder: Path, core: int, **env: str) -> AsyncIterator[Service]:
    """Run the service on what is stored in a folder."""
    port = free_port()
    (folder / "namespaces.yaml").write_text(NAMESPACES)
    settings = {
        "SEMCACHE_GRPC_PORT": str(port), "SEMCACHE_PORT": "0", "SEMCACHE_EDGE_FOLDER": str(folder / "entries"),
        "SEMCACHE_NAMESPACES_PATH": str(folder / "namespaces.yaml"), "DRAIN_DELAY": "0",
        # No prompt is asked twice here, and none may be known from before.
        "SEMCACHE_PROMPTS_REMEMBERED": "0", "SEMCACHE_LOOKUP_TIMEOUT": "5s", "SEMCACHE_EDGE_START_TIMEOUT": "300s",
        **env,
    }  # fmt: skip
    with process(str(core), [sys.executable, "-m", "semcache"], settings) as child:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            service = Service(child.pid, channel)
            await asyncio.wait_for(channel.channel_ready(), 300)
            async with asyncio.timeout(120):
                while (await service.lookup("is anybody there?")).outcome == semcache_pb2.OUTCOME_BYPASS:  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.05)
            yield service


async def one_by_one(service: Service, prompts: Sequence[str]) -> dict[str, Any]:
    """Ask one after the other; return percentiles and how the lookups ended."""
    times, ends, used = [], Counter[str](), service.processor_seconds
    for prompt in prompts:
        before = time.perf_counter()
        answer = await service.lookup(prompt)
        times.append((time.perf_counter() - before) * 1000)
        ends[_end(answer)] += 1
    used = (service.processor_seconds - used) / len(prompts) * 1000
    rate = len(times) / sum(times) * 1000
    return {**percentiles(times), "ends": dict(ends), "per_second": rate, "processor_ms": used}


async def at_once(service: Service, prompts: Sequence[str], callers: int) -> dict[str, Any]:
    """Have so many callers ask without a pause; return lookups a second."""
    waiting = list(reversed(prompts))

    async def ask() -> None:
        while waiting:
            await service.lookup(waiting.pop())

    count, before, used = len(prompts), time.perf_counter(), service.processor_seconds
    await asyncio.gather(*(ask() for _ in range(callers)))
    rate, used = count / (time.perf_counter() - before), service.processor_seconds - used
    return {"per_second": rate, "callers": callers, "processor_ms": used / count * 1000}


async def paced(service: Service, prompts: Sequence[str], per_second: float) -> dict[str, Any]:
    """Ask at a fixed rate whatever the answers do; return percentiles."""
    times: list[float] = []
    ends = Counter[str]()

    async def ask(prompt: str, due: float) -> None:
        answer = await service.lookup(prompt)
        # From when it was due: a late start is the service's fault as well.
        times.append((time.perf_counter() - due) * 1000)
        ends[_end(answer)] += 1

    began, tasks = time.perf_counter(), []
    for number, prompt in enumerate(prompts):
        due = began + number / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(prompt, due)))
    await asyncio.gather(*tasks)
    return {**percentiles(times), "ends": dict(ends), "asked_per_second": per_second}


def encode_alone(original: str, source: Path, core: int, prompts: Sequence[str]) -> float:
    """Return p50 in ms of sentence-transformers encoding these prompts on the same core."""
    from bench.semcache.embedding import _ORIGINAL  # noqa: PLC0415 - one program for both

    told = subprocess.run(
        ["taskset", "-c", str(core), original, "-c", _ORIGINAL, str(source)],
        input=json.dumps({"texts": {"question": list(prompts)}, "rounds": 200}),
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return float(json.loads(told.stdout.splitlines()[-1])["question"])


def _end(answer: semcache_pb2.LookupResponse) -> str:
    outcome = semcache_pb2.Outcome.Name(answer.outcome).removeprefix("OUTCOME_").lower()
    reason = semcache_pb2.Reason.Name(answer.reason).removeprefix("REASON_").lower()
    return outcome if answer.reason == 0 else f"{outcome}: {reason}"


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
