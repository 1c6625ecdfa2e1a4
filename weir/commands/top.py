"""`weir top`: who spends most, live."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from protos.ratelimit.v1 import admin_pb2 as wire
from weir.commands.admin_options import admin_options, as_json, client, run


@click.command(
    epilog="""\b
    Examples:
      weir top                              all domains, drawn anew every 2 s
      weir top --domain llm --count 5
      weir top --once --json | jq '.spenders[0]'
    """
)
@click.option("--domain", default="", help="Only this set of rules.")
@click.option("--count", type=click.IntRange(1, 1000), default=20, show_default=True, help="Rows.")
@click.option(
    "--interval", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Seconds between two looks."
)
@click.option("--once", is_flag=True, help="Look once, as where the output is no terminal.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON, once.")
@admin_options
def top(**options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Show who spent most in this minute and the one before, as one process of the service has seen it."""
    run(_top(options))


async def _top(options: dict[str, Any]) -> None:
    request = wire.ListSpendersRequest(domain=options["domain"], count=options["count"])
    console = Console(highlight=False)
    async with client(options) as service:
        response = await service.ask(request)
        if options["is_json"]:
            click.echo(as_json(response))
        elif options["once"] or not console.is_terminal:
            console.print(table(response))
        else:
            with Live(table(response), console=console, auto_refresh=False) as live:
                while True:
                    live.update(table(await service.ask(request)), refresh=True)
                    await asyncio.sleep(options["interval"])


def table(response: wire.ListSpendersResponse) -> Table:
    """Draw a row for each spender."""
    seconds = response.period.seconds
    drawn = Table(caption=f"over {seconds} s; ± may be another's", caption_justify="left")
    for column in ("domain", "descriptor", "rule", "spent", "±", "a second"):
        drawn.add_column(column)
    for spender in response.spenders:
        drawn.add_row(
            spender.domain,
            ", ".join(f"{entry.key}={entry.value}" for entry in spender.entries),
            spender.rule,
            f"{spender.spent:,}",
            f"{spender.error:,}" if spender.error else "",
            f"{spender.spent / seconds:,.1f}" if seconds else "",
        )
    return drawn
