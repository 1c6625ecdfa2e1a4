"""`weir limits`: change the limits of single descriptors while they are in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from google.protobuf.duration_pb2 import Duration
from rich.console import Console
from rich.table import Table

from protos.ratelimit.v1 import admin_pb2 as wire
from serving.settings import seconds
from weir.commands.admin_options import admin_options, as_json, client, descriptors, run
from weir.commands.check import Descriptor

_given = click.argument("given", metavar="KEY=VALUE,…", type=Descriptor())
_domain = click.option("--domain", required=True, help="Set of rules.")
_window = click.option("--window", default="", help="Which limit, where the rule has several: minute, 5h.")
_algorithm = click.option("--algorithm", default="", help="Which one, where several have this window.")
_expected = click.option(
    "--expected-version",
    type=click.IntRange(min=0),
    help="Change it only if it still has this version; 0: only if there is none.",
)
_json = click.option("--json", "is_json", is_flag=True, help="Print JSON instead of a table.")


class Span(click.ParamType[Duration]):
    """A time such as `30s`, `5h` or `2d`."""

    name = "span"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Duration:
        """Read it."""
        try:
            span = seconds(value)
        except ValueError:
            span = None
        if not isinstance(span, int | float) or span <= 0:
            self.fail(f"{value!r} is no time such as 30s or 5h", param, ctx)
        return Duration(seconds=int(span), nanos=int(span % 1 * 1e9))


@click.group(
    epilog="""\b
    Examples:
      weir limits set --domain llm --tokens 500000 tenant=acme
      weir limits set --domain llm --tokens 0 --ttl 1h tenant=acme,model=gpt-4o
      weir limits set --domain llm --tokens 90000 --window 5h tenant=acme
      weir limits list --domain llm
      weir limits clear --domain llm tenant=acme
    """
)
def limits() -> None:
    """Change the limits of single descriptors while they are in force, up to the `ceiling` of their rules."""


@limits.command(name="set")
@_given
@_domain
@click.option("--tokens", type=click.IntRange(0, 2**53 - 1), required=True, help="The amount; 0 refuses all.")
@click.option("--ttl", type=Span(), help="How long; without it, until it is cleared.")
@_window
@_algorithm
@_expected
@_json
@admin_options
def set_limit(**options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Put an amount in force in place of the rule's."""
    run(_set(options))


async def _set(options: dict[str, Any]) -> None:
    (descriptor,) = descriptors([options["given"]])
    request = wire.SetLimitRequest(
        domain=options["domain"],
        descriptor=descriptor,
        window=options["window"],
        algorithm=options["algorithm"],
        amount=options["tokens"],
        ttl=options["ttl"],
        expected_version=options["expected_version"],
    )
    async with client(options) as service:
        response = await service.ask(request)
    if options["is_json"]:
        click.echo(as_json(response))
    else:
        Console(highlight=False).print(table([response.limit]))


@limits.command()
@_given
@_domain
@_window
@_algorithm
@_expected
@admin_options
def clear(**options: Any) -> None:  # noqa: ANN401 - as above
    """Put the rule's own amount in force again."""
    run(_clear(options))


async def _clear(options: dict[str, Any]) -> None:
    (descriptor,) = descriptors([options["given"]])
    request = wire.ClearLimitRequest(
        domain=options["domain"],
        descriptor=descriptor,
        window=options["window"],
        algorithm=options["algorithm"],
        expected_version=options["expected_version"],
    )
    async with client(options) as service:
        response = await service.ask(request)
    click.echo("the rule's own amount is in force again" if response.cleared else "it was in force already")


@limits.command(name="list")
@click.option("--domain", default="", help="Set of rules; without it, all.")
@_json
@admin_options
def list_limits(**options: Any) -> None:  # noqa: ANN401 - as above
    """List the amounts that are in force in place of rules'."""
    run(_list(options))


async def _list(options: dict[str, Any]) -> None:
    found = wire.ListLimitsResponse()
    request = wire.ListLimitsRequest(domain=options["domain"])
    async with client(options) as service:
        while True:
            page = await service.ask(request)
            found.limits.extend(page.limits)
            found.version = page.version
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    if options["is_json"]:
        click.echo(as_json(found))
    else:
        Console(highlight=False).print(table(found.limits))


def table(limits: Any) -> Table:  # noqa: ANN401 - a list of protobuf's
    """Draw a row for each."""
    drawn = Table()
    for column in ("domain", "descriptor", "limit", "rule says", "ceiling", "until", "version"):
        drawn.add_column(column)
    for limit in limits:
        drawn.add_row(*_row(limit))
    return drawn


def _row(limit: wire.DynamicLimit) -> Iterator[str]:
    yield limit.domain
    yield ", ".join(f"{entry.key}={entry.value}" for entry in limit.entries)
    algorithm = "" if limit.algorithm == "fixed_window" else f", {limit.algorithm}"
    yield f"{limit.amount:,} per {limit.window}{algorithm}"
    yield f"{limit.own_amount:,}" if limit.rule else "no such limit"
    yield f"{limit.ceiling:,}" if limit.rule else ""
    yield limit.end.ToJsonString() if limit.HasField("end") else ""
    yield str(limit.version)
