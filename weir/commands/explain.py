"""`weir explain`: which rule would match, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console

from protos.ratelimit.v1 import admin_pb2 as wire
from protos.ratelimit.v1 import limiter_pb2
from weir.commands.admin_options import admin_options, as_json, client, descriptors, run
from weir.commands.check import Descriptor
from weir.commands.counters import table


@click.command(
    epilog="""\b
    Examples:
      weir explain --domain llm tenant=acme,model=gpt-4o
      weir explain --domain llm --tokens 800 tenant=acme tenant=acme,model=gpt-4o
      weir explain --domain llm --json tenant=acme
    """
)
@click.argument("given", metavar="KEY=VALUE,…", nargs=-1, required=True, type=Descriptor())
@click.option("--domain", required=True, help="Set of rules to ask under.")
@click.option(
    "--tokens", type=click.IntRange(0, 2**53 - 1), default=0, show_default=True, help="Would so much fit, too?"
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON instead of text.")
@admin_options
def explain(**options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Say which rule each descriptor would match, why, and how its limits stand; spends nothing."""
    run(_explain(options))


async def _explain(options: dict[str, Any]) -> None:
    amount = limiter_pb2.Amount(hits=options["tokens"])
    request = wire.ExplainRequest(domain=options["domain"], descriptors=descriptors(options["given"]), amount=amount)
    async with client(options) as service:
        response: wire.ExplainResponse = await service.ask(request)
    if options["is_json"]:
        click.echo(as_json(response))
        return
    for explanation in response.explanations:
        click.echo("\n".join([*told(explanation), ""]))
    Console(highlight=False).print(table(options["given"], response.verdict.statuses))
    is_over = response.verdict.code == limiter_pb2.CODE_OVER_LIMIT
    click.echo("it would be refused" if is_over else "it would pass")


def told(explanation: wire.Explanation) -> Iterator[str]:
    """Yield the lines about one descriptor."""
    for turn in explanation.turns:
        found = f"{turn.node}  ({turn.how})" if turn.node else "nothing"
        yield f"{turn.entry.key}={turn.entry.value}  →  {found}"
    yield explanation.why
    if explanation.rule:
        place = f"{explanation.file}:{explanation.line}" if explanation.line else explanation.file
        yield f"written at {place}" + "".join(f" · {trait}" for trait in explanation.traits)
    for key in explanation.keys:
        yield f"counted in {key}"
