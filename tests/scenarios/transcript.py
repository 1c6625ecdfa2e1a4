"""A transcript: rules, commands, and the answers that were given.

    rules                           a block, indented by four: what `> load` loads
        domain: llm
        …
    > load
    loaded
    > ask tenant=acme --hits 30     a command; what follows it is its answer
    ok, 70 of 100 left per minute, 60 s

Comments (`#`) and blank lines stay where they are. Played again, a transcript must come out the same to the letter; `--rewrite` writes down what came out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import takewhile
from textwrap import dedent, indent
from typing import TypeAlias

COMMAND = "> "
BLOCK = "rules"

Answer: TypeAlias = Callable[[str, str], Awaitable[str]]
"""From a command and the last block of rules to its answer."""


async def play(text: str, answer: Answer) -> str:
    """Return the transcript with the answers that are given now."""
    played: list[str] = []
    waiting = text.splitlines()
    rules = ""
    while waiting:
        line = waiting.pop(0)
        played.append(line)
        if line == BLOCK:
            block = list(takewhile(lambda each: not each or each.startswith(" "), waiting))
            del waiting[: len(block)]
            rules = dedent("\n".join(block)).strip() + "\n"
            played += block
        elif line.startswith(COMMAND):
            while waiting and waiting[0] and not waiting[0].startswith(COMMAND):
                waiting.pop(0)
            answered = await answer(line.removeprefix(COMMAND), rules)
            played += indent(answered, "  ").splitlines()
    return "\n".join(played) + "\n"
