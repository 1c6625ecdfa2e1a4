"""`weir check`: ask a running service."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import grpc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weir.client import Answer, Answers, AskError, Client, Entries
from weir.commands.tls_options import tls_credentials, tls_options
from weir.durations import spoken

STATUS_OVER = 1
STATUS_ERROR = 2


class Descriptor(click.ParamType[Entries]):
    """`key=value,key=value`; a key without `=` has an empty value."""

    name = "key=value,…"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Entries:
        """Return the entries in order."""
        entries = tuple((key, text) for key, _, text in (pair.partition("=") for pair in value.split(",")))
        if not all(key for key, _ in entries):
            self.fail(f"'{value}' is not key=value,key=value", param, ctx)
        return entries


@click.command(
    epilog="""\b
    Examples:
      weir check --domain llm user=alice                  what is left? spends nothing
      weir check --domain llm user=alice,model=large      one descriptor of two entries
      weir check --domain llm user=alice model=large      two descriptors in one call
      weir check --domain llm user=alice --hits 500       spends 500
      weir check --domain llm user=alice --json | jq .statuses
      weir check --domain llm user=alice --target ratelimit:8081 --cacert ca.crt --cert tls.crt --key tls.key
    """
)
@click.argument("descriptors", metavar="KEY=VALUE,…", nargs=-1, required=True, type=Descriptor())
@click.option("--domain", required=True, help="Set of rules to ask under.")
@click.option(
    "--hits", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="What to spend; 0 only looks."
)
@click.option("--target", default="localhost:8081", show_default=True, help="host:port, or unix:/path of the service.")
@tls_options
@click.option("--json", "is_json", is_flag=True, help="Print JSON instead of a table.")
def check(
    descriptors: tuple[Entries, ...], *, domain: str, hits: int, target: str, is_json: bool, **tls: Path | None
) -> None:
    """Ask a running service about one descriptor or several.

    Exits with 0 if the request would pass, 1 if it is over limit, 2 if there is no answer.
    """
    question = _ask(target, tls_credentials(tls), domain, descriptors, hits)
    try:
        answers = asyncio.run(question)
    except AskError as error:
        click.echo(f"{target}: {error}", err=True)
        sys.exit(STATUS_ERROR)
    if is_json:
        click.echo(json.dumps(as_json(answers), indent=2))
    else:
        Console(highlight=False).print(table(answers))
    sys.exit(STATUS_OVER if answers.is_over else 0)


async def _ask(
    target: str,
    credentials: grpc.ChannelCredentials | None,
    domain: str,
    descriptors: Sequence[Entries],
    hits: int,
) -> Answers:
    async with Client(target, credentials) as client:
        return await client.ask(domain, descriptors, hits)


def as_json(answers: Answers) -> dict[str, object]:
    """Return the answer as the service's own /json would spell it, with the descriptors beside."""
    return {"overallCode": _code(is_over=answers.is_over), "statuses": [_status(each) for each in answers.answers]}


def _status(answer: Answer) -> dict[str, object]:
    entries = [{"key": key, "value": value} for key, value in answer.entries]
    status: dict[str, object] = {"entries": entries, "code": _code(is_over=answer.is_over)}
    if answer.amount is not None:
        limit = {"name": answer.name, "requestsPerUnit": answer.amount, "unit": answer.unit.upper()}
        status |= {"currentLimit": limit, "durationUntilReset": f"{answer.reset_seconds}s"}
    return status | {"limitRemaining": answer.remaining}


def _code(*, is_over: bool) -> str:
    return "OVER_LIMIT" if is_over else "OK"


def table(answers: Answers) -> Table:
    """Draw a row for each descriptor, and the folded answer below."""
    code = _code(is_over=answers.is_over)
    drawn = Table(caption=f"overall: {code}", caption_justify="left")
    for column in ("descriptor", "code", "limit", "remaining", "resets in"):
        drawn.add_column(column)
    for answer in answers.answers:
        drawn.add_row(*_row(answer))
    return drawn


def _row(answer: Answer) -> tuple[str | Text, ...]:
    descriptor = Text(", ".join(f"{key}={value}" for key, value in answer.entries))
    code = Text(_code(is_over=answer.is_over), "red" if answer.is_over else "green")
    if answer.amount is None:
        # Nothing matched, or the rule is unlimited: only the latter says that something remains.
        return descriptor, code, "unlimited" if answer.remaining else "none", "", ""
    limit = f"{answer.amount} per {answer.unit}{f' ({answer.name})' if answer.name else ''}"
    return descriptor, code, limit, str(answer.remaining), spoken(answer.reset_seconds)
