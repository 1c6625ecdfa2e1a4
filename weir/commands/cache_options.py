"""What all commands that talk to a cache have in common."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import click

from semcache.client import CacheClient, CacheError
from weir.commands.tls_options import tls_credentials, tls_options

STATUS_MISS = 1
STATUS_ERROR = 2
# A person waits; the cache itself answers in 150 ms.
TIMEOUT_SECONDS = 5.0

_OPTIONS = (
    click.option(
        "--target", default="localhost:8082", show_default=True, envvar="WEIR_CACHE", help="host:port of the cache."
    ),
    click.option("--namespace", default="default", show_default=True, envvar="WEIR_NAMESPACE", help="Cache to ask."),
    click.option(
        "--token-file",
        type=click.File(),
        envvar="WEIR_TOKEN_FILE",
        help="File that holds a bearer token; options are seen by others of this machine.",
    ),
)
_SCOPE = (
    click.option("--tenant", help="Whose answers."),
    click.option("--user", help="Who asks, where answers are personal."),
    click.option("--model", help="Model asked."),
    click.option("--system-prompt", help="System prompt."),
    click.option(
        "--scope", "pairs", multiple=True, metavar="NAME=VALUE", help="Anything else that must be equal; repeatable."
    ),
)


def cache_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which cache."""
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), tls_options(command))


def scope_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say what must be equal."""
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(_SCOPE), command)


def scope(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a scope among a command's options."""
    if bad := [pair for pair in options["pairs"] if not pair.partition("=")[0] or "=" not in pair]:
        raise click.BadParameter(f"{bad[0]!r} is not NAME=VALUE", param_hint="--scope")
    pairs = dict(pair.partition("=")[::2] for pair in options["pairs"])
    named = {name: options[name] for name in ("tenant", "user", "model", "system_prompt")}
    return {name: value for name, value in {**named, **pairs}.items() if value is not None}


def client(options: Mapping[str, Any]) -> CacheClient:
    """Return a client of the cache that a command's options name."""
    token = options["token_file"].read().strip() if options["token_file"] else ""
    return CacheClient(
        options["target"],
        namespace=options["namespace"],
        token=token,
        credentials=tls_credentials(options),
        timeout_seconds=TIMEOUT_SECONDS,
    )


def run(work: Coroutine[Any, Any, int]) -> None:
    """Do something with a cache, and exit with the status that it returns."""
    try:
        status = asyncio.run(work)
    except CacheError as error:
        click.echo(str(error), err=True)
        status = STATUS_ERROR
    sys.exit(status)
