"""`weir store`: keep an answer."""

from __future__ import annotations

import sys
from typing import Any

import click

from semcache.client import Completion
from weir.commands.cache_options import STATUS_ERROR, STATUS_MISS, cache_options, client, run, scope, scope_options


@click.command(
    epilog="""\b
    Examples:
      weir store --namespace support --tenant acme "How do I reset my password?" "Click on “forgot”."
      llm "$question" | weir store --namespace support --tenant acme --tag faq "$question" -
    """
)
@click.argument("prompt")
@click.argument("answer")
@cache_options
@scope_options
@click.option("--ttl", type=click.FloatRange(min=0), default=0.0, help="Seconds to live; 0: the namespace's default.")
@click.option("--tag", "tags", multiple=True, help="Name to invalidate by; repeatable.")
def store(prompt: str, answer: str, **options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Have a running cache keep ANSWER for PROMPT; an answer of `-` is read from standard input.

    Exits with 0 if it is kept, 1 if it is refused, 2 if the cache did not answer.
    """
    text = sys.stdin.read() if answer == "-" else answer
    run(_store(prompt, text, options))


async def _store(prompt: str, text: str, options: dict[str, Any]) -> int:
    async with client(options) as cache:
        stored = await cache.store(
            prompt, Completion(text), ttl_seconds=options["ttl"], tags=options["tags"], **scope(options)
        )
    if stored.is_stored:
        click.echo(stored.entry_id)
        return 0
    if stored.refusal == "unreachable":
        click.echo("the cache did not answer", err=True)
        return STATUS_ERROR
    click.echo(f"not kept: {stored.refusal}{f' ({stored.detail})' if stored.detail else ''}", err=True)
    return STATUS_MISS
