"""`weir lookup`: has this been answered?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from semcache.client import Found
from weir.commands.cache_options import (
    STATUS_ERROR,
    STATUS_MISS,
    cache_options,
    client,
    run,
    scope,
    scope_options,
)


@click.command(
    epilog="""\b
    Examples:
      weir lookup --namespace support --tenant acme "How do I reset my password?"
      weir lookup --namespace support --tenant acme --json "…" | jq .similarity
    """
)
@click.argument("prompt")
@cache_options
@scope_options
@click.option(
    "--min-confidence", type=click.FloatRange(0, 1), default=0.0, help="Ask for more than the namespace does."
)
@click.option("--exact", is_flag=True, help="Only the same prompt will do.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON instead of text.")
def lookup(prompt: str, **options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Ask a running cache for an answer to PROMPT.

    Exits with 0 if there is one, 1 if there is none, 2 if the cache did not answer.
    """
    run(_lookup(prompt, options))


async def _lookup(prompt: str, options: dict[str, Any]) -> int:
    async with client(options) as cache:
        found = await cache.lookup(
            prompt, min_confidence=options["min_confidence"], exact_only=options["exact"], **scope(options)
        )
    if options["is_json"]:
        click.echo(json.dumps(asdict(found), default=lambda value: value.decode(errors="replace"), indent=2))
    else:
        click.echo(describe(found), err=True)
        if found.completion is not None:
            click.echo(found.completion.text)
    if found.reason == "unreachable":
        return STATUS_ERROR
    return 0 if found.is_hit else STATUS_MISS


def describe(found: Found) -> str:
    """Return how a lookup ended, in one line."""
    if found.reason == "unreachable":
        return "the cache did not answer"
    words = [found.outcome, *([found.reason] if found.reason else []), f"by {found.step}"]
    words += [f"guard {found.guard}"] if found.guard else []
    words += [f"missing {found.missing}"] if found.missing else []
    if found.similarity:
        words.append(f"similarity {found.similarity:.3f}, confidence {found.confidence:.3f}")
    if found.is_hit:
        words.append(f"age {found.age_seconds:.0f} s")
    return " · ".join(words)
