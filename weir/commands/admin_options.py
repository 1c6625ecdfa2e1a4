"""What all commands have in common that administer a rate limit service."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import click
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from protos.ratelimit.v1 import limiter_pb2
from ratelimit.client import AdminClient, LimiterError
from weir.client import Entries
from weir.commands.check import STATUS_ERROR
from weir.commands.tls_options import tls_credentials, tls_options

_OPTIONS = (
    click.option("--target", default="localhost:8081", show_default=True, envvar="WEIR_LIMITER", help="host:port."),
    click.option(
        "--token-file",
        type=click.File(),
        envvar="WEIR_TOKEN_FILE",
        help="File that holds a bearer token; options are seen by others of this machine.",
    ),
)


def admin_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which service, and who asks."""
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), tls_options(command))


def client(options: Mapping[str, Any]) -> AdminClient:
    """Return a client of the service that a command's options name."""
    token = options["token_file"].read().strip() if options["token_file"] else ""
    credentials = tls_credentials(options)
    return AdminClient(options["target"], token=token, credentials=credentials)


def descriptors(given: Sequence[Entries]) -> list[limiter_pb2.Descriptor]:
    """Return what was given on the command line as the wire has it."""
    return [
        limiter_pb2.Descriptor(entries=[limiter_pb2.Entry(key=key, value=value) for key, value in entries])
        for entries in given
    ]


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do something, and exit with 2 where it is refused or not answered."""
    try:
        asyncio.run(work)
    except LimiterError as error:
        click.echo(str(error), err=True)
        sys.exit(STATUS_ERROR)
    except KeyboardInterrupt:
        sys.exit(0)


def as_json(message: Message) -> str:
    """Return a message as JSON, every field of it."""
    return str(MessageToJson(message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True))
