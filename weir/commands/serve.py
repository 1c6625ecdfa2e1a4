"""`weir serve`: one service in the foreground."""

from __future__ import annotations

import os
import sys

import click


@click.group()
def serve() -> None:
    """Serve one service in the foreground, set up by its environment."""


@serve.command(
    epilog="""\b
    Examples:
      BACKEND_TYPE=memory RUNTIME_ROOT=/srv/rules weir serve ratelimit
      REDIS_SOCKET_TYPE=tcp REDIS_URL=localhost:6379 weir serve ratelimit --workers 4
    """
)
@click.option("--workers", type=click.IntRange(1), help="Processes that share the ports; WORKERS says the same.")
def ratelimit(workers: int | None) -> None:
    """Serve rate limits to Envoy.

    The same as `python -m ratelimit`: environment names and defaults are those of
    envoyproxy/ratelimit; docs/operations.md lists them.
    """
    # Imported here: the other commands do without the service's dependencies.
    from ratelimit.app import main  # noqa: PLC0415

    if workers is not None:
        os.environ["WORKERS"] = str(workers)
    sys.exit(main())
