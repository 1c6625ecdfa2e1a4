"""`weir run`, as a person starts it."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from tests.fakes.envoy import eventually
from tests.fakes.ports import alone, free_port
from weir.demo import session
from weir.demo.envoy import find_envoy
from weir.demo.stack import RULES

# One of them at a time on a machine: the others wait.
pytestmark = pytest.mark.timeout(240)

DAILY = """
domain: llm
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 300 }
"""


class Run:
    """One `weir run` and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    def said(self) -> str:
        return self._log.read_text()

    async def has_said(self, text: str) -> bool:
        return re.search(text, self.said()) is not None

    @property
    def gateway(self) -> str:
        return re.search(r"gateway +(http://\S+)", self.said())[1]  # type: ignore[index]

    def children(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "daily.yaml").write_text(DAILY)
    log = tmp_path / "run.log"
    with alone():
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "weir", "run", "--rules", str(rules), stdout=file, stderr=file
            )
        run = Run(process, log)
        await eventually(lambda: run.has_said("What is left|ended|missing"), timeout_seconds=50)
        yield run
        if process.returncode is None:
            process.terminate()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_printed_curl_line_is_refused_the_third_time_and_a_signal_stops_everything(
    run: Run, number: signal.Signals
) -> None:
    curl = re.search(r"curl -i (?s:.*?)}'", run.said())[0]  # type: ignore[index]
    children = run.children()

    statuses = [await _curl(curl, run, expected) for expected in (1, 2, 3)]
    run.process.send_signal(number)
    status = await run.process.wait()

    assert statuses == ["200", "200", "429"]
    assert "user=alice: 300 of 300 (over)" in run.said()
    assert status == 0
    assert len(children) == 3
    assert not [pid for pid in children if _is_alive(pid)]


async def test_a_stream_is_charged_too(run: Run) -> None:
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": "one two"}], "max_tokens": 5}
    async with aiohttp.ClientSession() as client:
        url = f"{run.gateway}/v1/chat/completions"
        async with client.post(url, json=body, headers={"x-user": "bob"}) as answer:
            text = await answer.text()

    assert text.endswith("data: [DONE]\n\n")
    await eventually(lambda: run.has_said(r"200 +7 tokens  user=bob: 7 of 300 \(ok\)"))


async def test_the_printed_check_can_be_typed_as_it_is(run: Run) -> None:
    (line,) = re.findall(r"^  (\S*weir check .+)$", run.said(), re.MULTILINE)

    process = await asyncio.create_subprocess_exec(*shlex.split(line), stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()

    assert process.returncode == 0
    assert b"overall: OK" in output


async def test_rules_that_are_edited_are_told_to_be_taken_or_where_they_are_wrong(run: Run, tmp_path: Path) -> None:
    rules = tmp_path / "rules" / "daily.yaml"
    rules.write_text(DAILY.replace("day", "fortnight"))
    await eventually(lambda: run.has_said(r"ERROR .*daily\.yaml:5: invalid rate limit unit 'fortnight'"))

    rules.write_text(DAILY.replace("300", "400"))

    await eventually(lambda: run.has_said("rules loaded: 1 domains, generation 2"))


async def test_nothing_is_left_behind_even_when_it_is_killed(run: Run) -> None:
    children = run.children()

    run.process.kill()
    await run.process.wait()

    async def are_gone() -> bool:
        return not any(_is_alive(pid) for pid in children)

    assert len(children) == 3
    await eventually(are_gone)


async def test_it_says_which_process_ended_and_stops_the_others(run: Run) -> None:
    first, *others = run.children()

    os.kill(first, signal.SIGKILL)
    status = await run.process.wait()

    assert status == 1
    assert "ended with status -9" in run.said()
    assert not [pid for pid in others if _is_alive(pid)]


async def test_the_cache_is_shown_with_a_question_that_is_asked_three_times(run: Run) -> None:
    await eventually(lambda: run.has_said("weir cache stats"), timeout_seconds=50)

    shown = re.findall(r"weirs? used for\?  (\w+) .* (\d+) tokens charged", run.said())

    assert shown == [("miss", "46"), ("exact", "0"), ("semantic", "0")]
    assert await _typed(run, "weir ask") == (0, "a weir raises the ")
    assert await _typed(run, "weir lookup") == (0, '{\n  "outcome": "ex')
    assert (await _typed(run, "weir cache stats"))[0] == 0


async def test_without_a_cache_rate_limits_go_on(run: Run) -> None:
    await eventually(lambda: run.has_said("weir cache stats"), timeout_seconds=50)
    (cache,) = [pid for pid in run.children() if _runs(pid, "semcache")]

    os.kill(cache, signal.SIGKILL)

    await eventually(lambda: run.has_said("There is no semantic cache: The semantic cache ended with status -9"))
    assert (await _typed(run, "weir check"))[0] == 0


async def _typed(run: Run, command: str) -> tuple[int | None, str]:
    """Run a printed command as it is; return its status and the beginning of what it says."""
    (line,) = re.findall(rf"^  (\S*{command} (?:.+\\\n)*.+)$", run.said(), re.MULTILINE)
    process = await asyncio.create_subprocess_exec(
        *shlex.split(line.replace("\\\n", " ")), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()[:18]


@pytest.fixture
def place() -> Iterator[None]:
    with alone():
        yield


@pytest.mark.usefixtures("place")
async def test_a_terminal_shows_the_budgets_and_a_signal_in_this_process_ends_it() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=160, color_system=None)
    running = asyncio.ensure_future(session.run(find_envoy(), RULES, free_port(), console))
    await eventually(lambda: _contains(output, "What is left"))
    gateway = re.search(r"gateway +(http://\S+)", output.getvalue())[1]  # type: ignore[index]

    body = {"model": "large-1", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 90}
    async with aiohttp.ClientSession() as client:
        for _ in range(2):
            async with client.post(f"{gateway}/v1/chat/completions", json=body, headers={"x-user": "acme"}) as answer:
                await answer.read()
    await eventually(lambda: _contains(output, "184 of 2,000 per hour"))
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    status = await running

    assert status == 0
    assert output.getvalue().rstrip().endswith("Stopped.")


async def _curl(line: str, run: Run, expected: int) -> str:
    """Run a printed line, and wait until its exchange was printed."""
    process = await asyncio.create_subprocess_exec(*shlex.split(line), "-s", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()

    async def is_printed() -> bool:
        return len(re.findall(r"tokens  user=", run.said())) == expected

    await eventually(is_printed)
    return output.split()[1].decode()


async def _contains(output: io.StringIO, text: str) -> bool:
    return text in output.getvalue()


def _runs(pid: int, module: str) -> bool:
    return module in Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def _is_alive(pid: int) -> bool:
    """Say whether a process runs; one that nobody waits for any more is gone too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
