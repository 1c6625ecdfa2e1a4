"""Several processes of the service on one port, with a real Redis: they answer, fall and leave as one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.conftest import StartService
from tests.e2e.fleet import Fleet, ask
from tests.fakes.ports import free_port
from tests.fakes.processes import RedisProcess
from tests.wire.gate import until

PATIENCE_SECONDS = 30.0


def is_running(pid: int) -> bool:
    # A process whose parent has gone may stay as a zombie where nobody reaps it.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_gone(pids: list[int]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await until(lambda: not any(is_running(pid) for pid in pids))


async def run_once(tmp_path: Path, environment: Mapping[str, str]) -> tuple[int | None, str]:
    """Run a service that should not start, and return its status and its last words."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ratelimit"),
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "RUNTIME_ROOT": str(tmp_path),
            "PORT": "0",
            "DEBUG_PORT": "0",
            "GRPC_PORT": "0",
            **environment,
        },
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        _, told = await process.communicate()
    return process.returncode, told.decode().splitlines()[-1]


async def test_workers_count_together_and_are_measured_together(
    redis: RedisProcess, start_service: StartService
) -> None:
    fleet = Fleet(redis, start_service)
    await fleet.start()
    left = await ask(fleet.service.target, 40)

    assert left == list(range(999_999, 999_959, -1))
    assert await fleet.calls_counted() == 40
    each = [await fleet.page(f"/debug/profile?seconds=0.01&worker={number}") for number in (0, 1, 2)]
    assert [page != "no such worker is ready\n" for page in each] == [True, True, False]
    assert "d.a: unit=DAY requests_per_unit=1000000" in await fleet.page("/rlconfig")


async def test_a_worker_that_crashed_is_started_again_and_its_counts_are_kept(
    redis: RedisProcess, start_service: StartService
) -> None:
    fleet = Fleet(redis, start_service)
    await fleet.start()
    await ask(fleet.service.target, 20)
    counted = await fleet.calls_counted()
    crashed = (await fleet.pids())[0]
    os.kill(crashed, signal.SIGKILL)
    await fleet.until_ready(2, without=crashed)
    await ask(fleet.service.target, 20)

    assert counted == 20
    assert await fleet.calls_counted() == 40
    assert "weir_workers_restarts 1" in await fleet.page("/metrics")


async def test_all_leave_on_one_signal(redis: RedisProcess, start_service: StartService) -> None:
    fleet = Fleet(redis, start_service)
    await fleet.start()
    pids = await fleet.pids()
    fleet.service.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_SECONDS):
        status = await fleet.service.process.wait()

    assert status == 0
    assert [pid for pid in pids if is_running(pid)] == []


async def test_a_second_signal_ends_the_delay_of_all(redis: RedisProcess, start_service: StartService) -> None:
    fleet = Fleet(redis, start_service)
    await fleet.start(DRAIN_DELAY="3600s")
    fleet.service.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await fleet.service.is_serving():
            pass
        fleet.service.process.send_signal(signal.SIGTERM)
        status = await fleet.service.process.wait()

    assert status == 0


async def test_workers_do_not_outlive_who_looks_after_them(redis: RedisProcess, start_service: StartService) -> None:
    fleet = Fleet(redis, start_service)
    await fleet.start()
    pids = await fleet.pids()
    fleet.service.process.kill()
    await until_gone(pids)

    assert await fleet.service.process.wait() == -signal.SIGKILL


async def test_the_next_version_has_the_port_before_the_old_one_leaves(
    redis: RedisProcess, start_service: StartService
) -> None:
    port = free_port()
    old, new = Fleet(redis, start_service), Fleet(redis, start_service)
    # For as long as calls are made: a connection that reaches a listener in the moment it closes is lost.
    await old.start(port, DRAIN_DELAY="3600s")
    await new.start(port)
    old.service.process.send_signal(signal.SIGTERM)

    while_it_drains = len(await ask(old.service.target, 20))
    old.service.process.send_signal(signal.SIGTERM)
    status = await old.service.process.wait()
    afterwards = len(await ask(new.service.target, 10))

    assert (while_it_drains, status, afterwards) == (20, 0, 10)


async def test_workers_cannot_share_counters_in_memory(tmp_path: Path) -> None:
    assert await run_once(tmp_path, {"BACKEND_TYPE": "memory", "WORKERS": "2"}) == (
        1,
        "ratelimit: WORKERS: processes cannot share counters in memory; use BACKEND_TYPE=redis, or one worker",
    )


async def test_workers_cannot_share_a_socket(tmp_path: Path) -> None:
    status, told = await run_once(tmp_path, {"GRPC_UDS": str(tmp_path / "grpc"), "WORKERS": "2"})

    assert (status, told) == (
        1,
        "ratelimit: WORKERS: processes cannot share a Unix socket; use GRPC_PORT, or one worker",
    )


async def test_workers_that_cannot_start_are_an_exit_status(tmp_path: Path) -> None:
    refused = {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": "127.0.0.1:1", "REDIS_STARTUP_MAX_ELAPSED_TIME": "10ms"}
    status, told = await run_once(tmp_path, {**refused, "REDIS_STARTUP_INITIAL_INTERVAL": "10ms", "WORKERS": "2"})

    assert (status, re.sub(r"\d", "N", told)) == (
        1,
        "ratelimit: worker N ended with status N before it was ready",
    )
