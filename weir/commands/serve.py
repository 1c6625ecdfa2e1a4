"""`weir serve`: one service in the foreground, or both."""

from __future__ import annotations

import os
import sys

import click


@click.group(
    invoke_without_command=True,
    epilog="""\b
    Examples:
      weir serve ratelimit
      weir serve semcache
      weir serve                 both in one process
    """,
)
@click.pass_context
def serve(context: click.Context) -> None:
    """Serve one service in the foreground, or both in one process, set up by the environment."""
    if context.invoked_subcommand is None:
        # Imported here: the other commands do without the services' dependencies.
        from weir.both import main  # noqa: PLC0415

        sys.exit(main())


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


@serve.command(
    epilog="""\b
    Examples:
      SEMCACHE_NAMESPACES_PATH=namespaces.yaml weir serve semcache
      SEMCACHE_NAMESPACES_PATH=namespaces.yaml QDRANT_URL=https://qdrant:6333 SEMCACHE_REDIS_SOCKET_TYPE=tcp \\
        SEMCACHE_REDIS_URL=redis:6379 weir serve semcache
    """
)
def semcache() -> None:
    """Serve the semantic cache.

    The same as `python -m semcache`; docs/operations.md lists its environment. Without QDRANT_URL entries
    are kept in SEMCACHE_EDGE_FOLDER, by one process.
    """
    # As above.
    from semcache.app import main  # noqa: PLC0415

    sys.exit(main())
