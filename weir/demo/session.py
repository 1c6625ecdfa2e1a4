"""One `weir run`, from start to Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.live import Live

from weir.client import AskError, Client
from weir.demo.board import Board, line, read_exchange
from weir.demo.child import Child, ChildError
from weir.demo.showing import show
from weir.demo.stack import Ports, Stack

# How often windows that end by themselves are looked at, on a terminal.
REFRESH_SECONDS = 1.0

GUIDE = """\
[bold]Weir is running.[/bold] Ctrl-C stops it.

  gateway      {gateway}  (Envoy; charges each user the tokens of every answer)
  rate limits  {service}  (gRPC; counters in memory)
  rules        {rules}  (read again when you edit them)
  debug pages  http://127.0.0.1:{debug}/  metrics http://127.0.0.1:{metrics}/metrics

[bold]Try[/bold]: run this three times; the third is refused until the minute ends.

  curl -i {gateway}/v1/chat/completions -H 'content-type: application/json' -H 'x-user: alice' \\
    -d '{{"model": "small", "max_tokens": 200, "messages": [{{"role": "user", "content": "What is a weir?"}}]}}'

The same with a stream, charged when its last chunk has told the usage:

  curl -N {gateway}/v1/chat/completions -H 'content-type: application/json' -H 'x-user: bob' \\
    -d '{{"model": "small", "stream": true, "messages": [{{"role": "user", "content": "What is a weir?"}}]}}'

What is left, asked of the service itself:

  {weir} check --target {service} --domain llm user=alice
"""


def guide(stack: Stack) -> str:
    """Return what to try."""
    return GUIDE.format(
        gateway=stack.gateway,
        service=stack.service,
        rules=stack.rules,
        debug=stack.ports.debug,
        metrics=stack.ports.metrics,
        weir=command(),
    )


def command() -> str:
    """Return how this program is called from here: `make run` puts nothing into PATH."""
    if shutil.which("weir"):
        return "weir"
    return os.path.relpath(Path(sys.executable).with_name("weir"))


async def run(program: str, rules: Path, gateway_port: int, console: Console) -> int:
    """Run until SIGINT or SIGTERM; return the exit status."""
    session = asyncio.ensure_future(_session(program, rules, gateway_port, console))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _cancel_once(session))
    try:
        await session
    except asyncio.CancelledError:
        return 0
    except ChildError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    raise AssertionError("a session ends by an error or a signal")


def _cancel_once(task: asyncio.Future[None]) -> Callable[[], None]:
    """Return what cancels the task the first time: a second Ctrl-C must not interrupt stopping."""
    waiting = [task]

    def cancel() -> None:
        while waiting:
            waiting.pop().cancel()

    return cancel


async def _session(program: str, rules: Path, gateway_port: int, console: Console) -> None:
    with TemporaryDirectory(prefix="weir-") as folder:
        stack = Stack(program, rules, Ports.pick(gateway_port), Path(folder))
        try:
            console.print("Starting the rate limit service and Envoy …", style="dim")
            await stack.start()
            console.print(guide(stack), soft_wrap=True)
            async with Client(stack.service) as client:
                follower = follow(stack.envoy, Board(client), console)
                notices = print_notices(stack.ratelimit, console)
                await race(
                    stack.envoy.stay(), stack.ratelimit.stay(), follower, notices, show(stack, console, command())
                )
        finally:
            await stack.stop()
            console.print("Stopped.", style="dim")


async def race(*runners: Coroutine[Any, Any, None]) -> None:
    """Run all until the first ends; raise what it raised. The others are cancelled."""
    tasks = [asyncio.ensure_future(runner) for runner in runners]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def follow(envoy: Child, board: Board, console: Console) -> None:
    """Print every exchange; on a terminal also keep a table of the budgets up to date."""
    if console.is_terminal:
        with Live(console=console, get_renderable=board.table, refresh_per_second=4):
            await race(print_exchanges(envoy, board, console), refresh(board))
    else:
        await print_exchanges(envoy, board, console)


async def print_exchanges(envoy: Child, board: Board, console: Console) -> None:
    """Print a line for each line of Envoy's access log, until Envoy ends."""
    while text := await envoy.output.readline():
        exchange = read_exchange(text)
        if exchange is None:
            continue
        try:
            console.print(line(exchange, await board.note(exchange)), markup=False, soft_wrap=True)
        except AskError as error:
            console.print(f"The rate limit service did not answer: {error}", style="yellow", markup=False)
    await envoy.stay()


async def print_notices(service: Child, console: Console) -> None:
    """Print what the service logs: above all whether edited rules were taken, or where they are wrong."""
    async for text in service.news():
        style = "red" if " ERROR " in text else "yellow" if " WARNING " in text else "dim"
        console.print(text, style=style, markup=False, soft_wrap=True)


async def refresh(board: Board) -> None:
    """Look again and again: windows end by themselves."""
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        # A failure is told by the next exchange, or by the service's end.
        with suppress(AskError):
            await board.refresh()
