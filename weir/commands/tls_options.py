"""The options of every command that may ask by TLS."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import grpc

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option("--cacert", type=_FILE, help="CA of the service's certificate: speak TLS."),
    click.option("--cert", type=_FILE, help="Certificate to show, where the service verifies its callers."),
    click.option("--key", type=_FILE, help="Its private key."),
)


def tls_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say what to trust and to show."""
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), command)


def tls_credentials(options: Mapping[str, Any]) -> grpc.ChannelCredentials | None:
    """Return what these files prove and trust; None: ask without TLS.

    Raises:
        UsageError: one is missing beside another.
    """
    cacert, cert, key = (options[name] for name in ("cacert", "cert", "key"))
    if (cert or key) and not (cacert and cert and key):
        raise click.UsageError("--cert and --key go together, and with --cacert")
    if cacert is None:
        return None
    shown, secret = cert.read_bytes() if cert else None, key.read_bytes() if key else None
    return grpc.ssl_channel_credentials(cacert.read_bytes(), secret, shown)
