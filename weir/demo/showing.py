"""Shows, once the cache is ready, what it does with a question that is asked three times."""

from __future__ import annotations

import asyncio

import aiohttp
from rich.console import Console

from serving.clock import SystemClock
from weir.commands.ask import line
from weir.demo.asking import Asking
from weir.demo.child import ChildError
from weir.demo.stack import Stack

USER, MODEL, TOKENS = "demo", "small", 40
QUESTIONS = ("What is a weir used for?", "What is a weir used for?", "What are weirs used for?")

READY = """
[bold]The semantic cache is ready.[/bold]

  semantic cache  {cache}  (gRPC; entries are gone when Weir stops)
  metrics         http://127.0.0.1:{http}/metrics

The same question three times, the last time in other words:
"""
MORE = """
Ask more, and look into the cache:

  {weir} ask --gateway {gateway} --target {cache} "What is a weir used for?"
  {weir} lookup --target {cache} --namespace demo --tenant alice --model small --scope max_tokens=40 \\
    --json "What is a weir used for?"
  {weir} cache stats --target {cache}
"""


async def show(stack: Stack, console: Console, weir: str) -> None:
    """Wait for the cache and show it; where it does not start, say why and let the rest go on."""
    try:
        await stack.until_cached()
        console.print(READY.format(cache=stack.cache, http=stack.ports.cache_http), soft_wrap=True)
        await _ask(stack, console)
        more = MORE.format(cache=stack.cache, gateway=stack.gateway, weir=weir)
        console.print(more, soft_wrap=True, markup=False)
        await stack.semcache.stay()
    except (ChildError, aiohttp.ClientError) as error:
        console.print(f"There is no semantic cache: {error}", style="yellow", markup=False, soft_wrap=True)
    # Rate limits do without it.
    await asyncio.Event().wait()


async def _ask(stack: Stack, console: Console) -> None:
    asking = Asking(stack.cache, stack.gateway, SystemClock())
    try:
        for question in QUESTIONS:
            asked = await asking.ask(question, user=USER, model=MODEL, max_tokens=TOKENS)
            console.print(f"  {question}  {line(asked)}", markup=False, soft_wrap=True)
    finally:
        await asking.close()
