"""Commands of operators against a service in this process: what they print of what it tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from click.testing import CliRunner, Result

from protos.ratelimit.v1 import admin_pb2 as wire
from protos.ratelimit.v1 import limiter_pb2
from ratelimit.stores.memory_limits import MemoryLimits
from serving.clock import SystemClock
from serving.grpc_server import GrpcServer
from serving.metrics import Registry
from serving.settings import GrpcSettings
from tests.fakes.desks import Apis
from tests.fakes.ports import free_port
from weir.__main__ import main
from weir.demo.upstream import Upstream

RULES = """
domain: llm
descriptors:
  - key: tenant
    rate_limit: {amount: 1000000, window: 1h, ceiling: 2000000, reserve: {ttl: 1h, default: 1}}
  - key: staff
    rate_limit: {unlimited: true}
"""
MANY = 1_001  # more than a page


class Served:
    """A service and the commands that are typed at it."""

    def __init__(self, apis: Apis, target: str) -> None:
        self.apis = apis
        self.target = target

    async def weir(self, *arguments: str) -> Result:
        command = [*arguments, "--target", self.target]
        # In a thread: the command runs a loop of its own. Wide, so that no cell is folded.
        return await asyncio.to_thread(CliRunner().invoke, main, command, env={"COLUMNS": "200"})

    async def told(self, *arguments: str) -> dict[str, object]:
        return json.loads((await self.weir(*arguments, "--json")).output)  # type: ignore[no-any-return]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    clock = SystemClock()
    apis = await Apis(RULES, clock=clock, limits=MemoryLimits(clock, limits_max=2 * MANY)).start()
    settings = GrpcSettings(grpc_host="127.0.0.1", grpc_port=0)
    server = GrpcServer(settings, list(apis.own.methods()), clock, Registry())
    await server.start()
    yield Served(apis, f"127.0.0.1:{server.port}")
    await server.stop()


def descriptor(value: str) -> limiter_pb2.Descriptor:
    return limiter_pb2.Descriptor(entries=[limiter_pb2.Entry(key="tenant", value=value)])


def names(listed: object) -> Sequence[object]:
    assert isinstance(listed, list)
    return listed


async def test_what_no_limit_holds_is_shown_as_such(served: Served) -> None:
    result = await served.weir("counters", "get", "--domain", "llm", "staff=eve", "guest=bob")

    lines = {line.split("│")[1].strip(): line for line in result.output.splitlines() if "│" in line}
    assert "unlimited" in lines["staff=eve"]
    assert "none" in lines["guest=bob"]


async def test_a_descriptor_of_no_rule_is_explained_too(served: Served) -> None:
    result = await served.weir("explain", "--domain", "llm", "guest=bob")

    assert "guest=bob  →  nothing" in result.output
    assert "written at" not in result.output
    assert "it would pass" in result.output


async def test_what_is_told_to_people_is_told_to_programs(served: Served) -> None:
    explained = await served.told("explain", "--domain", "llm", "tenant=acme")
    changed = await served.told("limits", "set", "--domain", "llm", "--tokens", "5", "tenant=acme")
    top = await served.told("top")

    assert names(explained["explanations"])
    assert changed["limit"]["amount"] == "5"  # type: ignore[index]
    assert top["spenders"] == []


async def test_every_hold_is_listed_however_many_pages_they_are(served: Served) -> None:
    requests = [
        limiter_pb2.ReserveRequest(domain="llm", descriptors=[descriptor("acme")], request_id=f"r{number}")
        for number in range(MANY)
    ]
    await served.apis.replies("Reserve", *requests)

    listed = await served.told("counters", "holds", "--domain", "llm", "tenant=acme")

    assert len(names(listed["holds"])) == MANY


async def test_every_changed_limit_is_listed_however_many_pages_they_are(served: Served) -> None:
    for number in range(MANY):
        request = wire.SetLimitRequest(domain="llm", descriptor=descriptor(f"t{number}"), amount=number)
        await served.apis.ask("SetLimit", request, wire.SetLimitResponse)

    listed = await served.told("limits", "list")

    assert len(names(listed["limits"])) == MANY


async def test_whoever_does_not_answer_is_named() -> None:
    nobody, gateway = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"

    looked = await asyncio.to_thread(CliRunner().invoke, main, ["lookup", "--target", nobody, "What is a weir?"])
    asked = await asyncio.to_thread(
        CliRunner().invoke, main, ["ask", "--target", nobody, "--gateway", gateway, "What is a weir?"]
    )

    assert (looked.exit_code, looked.output) == (2, "the cache did not answer\n")
    assert (asked.exit_code, asked.output.startswith(f"{gateway}: ")) == (2, True)


async def test_without_a_cache_a_question_is_asked_of_the_model() -> None:
    upstream = Upstream()
    await upstream.start()
    places = ["--target", f"127.0.0.1:{free_port()}", "--gateway", f"http://{upstream.address}"]

    asked = await asyncio.to_thread(CliRunner().invoke, main, ["ask", *places, "--max-tokens", "6", "What is a weir?"])
    await upstream.stop()

    assert (asked.exit_code, asked.output.splitlines()[-1].strip()) == (0, "a weir raises the river and")
