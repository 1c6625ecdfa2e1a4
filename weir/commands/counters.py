"""`weir counters`: read the counters of descriptors and their holds, empty them, give something back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from protos.ratelimit.v1 import admin_pb2 as wire
from protos.ratelimit.v1 import limiter_pb2
from weir.client import Entries
from weir.commands.admin_options import admin_options, as_json, client, descriptors, run
from weir.commands.check import Descriptor
from weir.durations import spoken

_given = click.argument("given", metavar="KEY=VALUE,…", nargs=-1, required=True, type=Descriptor())
_domain = click.option("--domain", required=True, help="Set of rules.")
_json = click.option("--json", "is_json", is_flag=True, help="Print JSON instead of a table.")


@click.group(
    epilog="""\b
    Examples:
      weir counters get --domain llm tenant=acme tenant=acme,model=gpt-4o
      weir counters holds --domain llm tenant=acme
      weir counters reset --domain llm tenant=acme
      weir counters grant --domain llm --tokens 50000 tenant=acme
    """
)
def counters() -> None:
    """Read the counters of descriptors, empty them, give something back."""


@counters.command()
@_given
@_domain
@_json
@admin_options
def get(**options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Show what is spent, held and left of every limit."""
    run(_get(options))


async def _get(options: dict[str, Any]) -> None:
    request = wire.GetCountersRequest(domain=options["domain"], descriptors=descriptors(options["given"]))
    async with client(options) as service:
        response = await service.ask(request)
    _show(response, response.statuses, options)


@counters.command()
@_given
@_domain
@_json
@admin_options
def reset(**options: Any) -> None:  # noqa: ANN401 - as above
    """Give back all that is spent in the present window; what is held stays."""
    run(_reset(options))


async def _reset(options: dict[str, Any]) -> None:
    request = wire.ResetCountersRequest(domain=options["domain"], descriptors=descriptors(options["given"]))
    async with client(options) as service:
        response = await service.ask(request)
    _show(response, response.after, options)


@counters.command()
@_given
@_domain
@click.option("--tokens", type=click.IntRange(1, 2**53 - 1), required=True, help="How much.")
@_json
@admin_options
def grant(**options: Any) -> None:  # noqa: ANN401 - as above
    """Give back an amount, never below 0 spent."""
    run(_grant(options))


async def _grant(options: dict[str, Any]) -> None:
    request = wire.GrantRequest(
        domain=options["domain"],
        descriptors=descriptors(options["given"]),
        amount=limiter_pb2.Amount(hits=options["tokens"]),
        request_id=uuid.uuid4().hex,
    )
    async with client(options) as service:
        response = await service.ask(request)
    _show(response, response.statuses, options)


@counters.command()
@click.argument("given", metavar="KEY=VALUE,…", type=Descriptor())
@_domain
@_json
@admin_options
def holds(**options: Any) -> None:  # noqa: ANN401 - as above
    """List what reservations hold of a descriptor's limits, one by one."""
    run(_holds(options))


async def _holds(options: dict[str, Any]) -> None:
    (descriptor,) = descriptors([options["given"]])
    request = wire.ListHoldsRequest(domain=options["domain"], descriptor=descriptor, page_size=1_000)
    found = wire.ListHoldsResponse()
    async with client(options) as service:
        while True:
            page = await service.ask(request)
            found.holds.extend(page.holds)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    if options["is_json"]:
        click.echo(as_json(found))
        return
    drawn = Table()
    for column in ("request", "holds", "of the limit per", "given back at"):
        drawn.add_column(column)
    for hold in sorted(found.holds, key=lambda each: each.due.ToMilliseconds()):
        drawn.add_row(hold.id, f"{hold.amount:,}", hold.window, hold.due.ToJsonString())
    Console(highlight=False).print(drawn)


def _show(response: Any, statuses: Sequence[limiter_pb2.DescriptorStatus], options: dict[str, Any]) -> None:  # noqa: ANN401 - any of three
    if options["is_json"]:
        click.echo(as_json(response))
    else:
        Console(highlight=False).print(table(options["given"], statuses))


def table(given: Sequence[Entries], statuses: Sequence[limiter_pb2.DescriptorStatus]) -> Table:
    """Draw a row for each limit of each descriptor."""
    drawn = Table()
    for column in ("descriptor", "rule", "limit", "spent", "held", "left", "resets in"):
        drawn.add_column(column)
    for entries, status in zip(given, statuses, strict=True):
        name = ", ".join(f"{key}={value}" for key, value in entries)
        for counter in status.counters:
            drawn.add_row(name, status.rule, *_row(counter))
        if not status.counters:
            drawn.add_row(name, status.rule, "unlimited" if status.rule else "none", "", "", "", "")
    return drawn


def _row(counter: limiter_pb2.Counter) -> tuple[str, ...]:
    numbers = (f"{number:,}" for number in (counter.spent, counter.held, counter.remaining))
    algorithm = "" if counter.algorithm == "fixed_window" else f", {counter.algorithm}"
    own = f" (the rule says {counter.own_limit:,})" if counter.HasField("own_limit") else ""
    return (f"{counter.limit:,} per {counter.window}{algorithm}{own}", *numbers, spoken(counter.reset.ToSeconds()))
