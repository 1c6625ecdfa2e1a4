"""`weir cache`: look into a running cache, empty it, carry its entries elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
from click.core import ParameterSource
from google.protobuf import proto
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from rich.console import Console

from protos.semcache.v1 import semcache_pb2 as wire
from weir.commands import cache_sheet
from weir.commands.cache_options import STATUS_ERROR, cache_options, client, run


@click.group(
    epilog="""\b
    Examples:
      weir cache stats                                   all namespaces that you may administer
      weir cache migration --namespace support           how far a change of its model is
      weir cache rollback --namespace support            have the model before answer again
      weir cache invalidate --namespace support --tag pricing --dry-run
      weir cache export --namespace support support.entries
      weir cache import --namespace support --target other:8082 support.entries
    """
)
def cache() -> None:
    """Look into a running cache, empty it, carry its entries elsewhere."""


@cache.command()
@cache_options
@click.option("--all/--one", "is_all", default=None, help="All namespaces, as without --namespace, or one.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def stats(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Show hits, errors with their bounds, entries and savings, as one replica has counted them."""
    if options["is_all"] is None:
        options["is_all"] = context.get_parameter_source("namespace") is ParameterSource.DEFAULT
    run(_stats(options))


async def _stats(options: dict[str, Any]) -> int:
    async with client(options) as connection:
        states = await connection.describe(all_namespaces=options["is_all"])
    if options["is_json"]:
        click.echo(json.dumps([MessageToDict(state, preserving_proto_field_name=True) for state in states], indent=2))
    else:
        Console(highlight=False).print(cache_sheet.sheets(states))
    return 0


@cache.command()
@cache_options
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def migration(**options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Show how far a change of a namespace's embedding model is. It begins by itself when `model` changes."""
    run(_migration(options))


async def _migration(options: dict[str, Any]) -> int:
    async with client(options) as connection:
        (state,) = await connection.describe()
    if options["is_json"]:
        click.echo(json.dumps(MessageToDict(state.migration, preserving_proto_field_name=True), indent=2))
    elif state.HasField("migration"):
        for name, value in cache_sheet.migration(state.migration):
            click.echo(f"{name.strip()}: {value}")
    else:
        click.echo(f"settled: {state.embedding_model}")
    return 0


@cache.command()
@cache_options
def rollback(**options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Have the embedding model before answer again, at once, while its entries are kept."""
    run(_rollback(options))


async def _rollback(options: dict[str, Any]) -> int:
    async with client(options) as connection:
        model = await connection.roll_back()
    click.echo(f"{model} answers again; change `model` of the namespace back before the next restart")
    return 0


@cache.command()
@cache_options
@click.option("--entry", "entry_id", default="", help="One entry.")
@click.option("--tag", default="", help="Entries with this tag.")
@click.option("--tenant", default="", help="Entries of this tenant.")
@click.option("--scope-id", default="", help="Entries of this scope, as `weir lookup --json` shows it.")
@click.option("--everything", is_flag=True, help="All entries: the namespace begins a new epoch.")
@click.option("--erase", is_flag=True, help="Until no text of them is in the store's files; always so for a tenant.")
@click.option("--dry-run", is_flag=True, help="Only count.")
def invalidate(**options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Forget answers, by exactly one of the options."""
    run(_invalidate(options))


async def _invalidate(options: dict[str, Any]) -> int:
    targets = {name: options[name] for name in ("entry_id", "tag", "tenant", "scope_id", "everything")}
    async with client(options) as connection:
        done = await connection.invalidate(is_dry_run=options["dry_run"], must_erase=options["erase"], **targets)
    if options["dry_run"]:
        click.echo(f"{done.entries} entries would be forgotten")
        return 0
    click.echo(f"{done.entries} entries are forgotten")
    if done.is_erased:
        click.echo("no text of them is left in the files of the store")
    elif options["erase"] or options["tenant"]:
        click.echo("their text may be in files of the store until it has written them anew", err=True)
    return 0


@cache.command("export")
@cache_options
@click.option("--tenant", help="Only entries of this tenant.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(file: Path, **options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Write all live entries of a namespace to FILE, readable by its owner only: prompts and answers are in it.

    FILE is whole or what it was before.
    """
    with _whole(file) as opened:
        run(_export(opened, options))


async def _export(file: BinaryIO, options: dict[str, Any]) -> int:
    entries = 0
    async with client(options) as connection:
        async for part in connection.export(options["tenant"]):
            entries += part.WhichOneof("part") == "entry"
            proto.serialize_length_prefixed(part, file)  # type: ignore[arg-type]  # any file will do
    click.echo(f"{entries} entries exported", err=True)
    return 0


@contextmanager
def _whole(file: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `file` if the command ends well; what is none (/dev/stdout) is written to."""
    is_replaced = file.is_file() or not file.exists()
    written = file.with_name(f"{file.name}.part") if is_replaced else file
    opened = os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    try:
        with opened:
            yield opened
    except SystemExit as ending:
        if is_replaced and not ending.code:
            written.replace(file)
        raise
    finally:
        if is_replaced:
            written.unlink(missing_ok=True)


@cache.command("import")
@cache_options
@click.argument("file", type=click.File("rb"))
def import_(file: BinaryIO, **options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Have a cache take the entries of FILE. Taking them twice is taking them once."""
    run(_import(file, options))


async def _import(file: BinaryIO, options: dict[str, Any]) -> int:
    async with client(options) as connection:
        try:
            taken = await connection.import_(_parts(file))
        except DecodeError:
            click.echo(f"{file.name}: not an export, or cut in the middle", err=True)
            return STATUS_ERROR
    click.echo(f"{taken.imported} entries imported, {taken.expired} had expired, {taken.embedded} were embedded anew")
    return 0


async def _parts(file: BinaryIO) -> AsyncIterator[wire.ExportResponse]:
    while (part := proto.parse_length_prefixed(wire.ExportResponse, file)) is not None:  # type: ignore[arg-type]  # as above
        yield part
