"""`weir ask`: a question to the demo gateway, with the cache before it."""

from __future__ import annotations

from typing import Any

import aiohttp
import click

from serving.clock import SystemClock
from weir.commands.cache_options import STATUS_ERROR, run
from weir.commands.lookup import describe
from weir.demo.asking import Asked, Asking


@click.command(
    epilog="""\b
    Examples, while `weir run` runs:
      weir ask "What is a weir?"                      a miss: the model is asked, and charged
      weir ask "What is a weir?"                      an exact hit: nothing is charged
      weir ask "What exactly is a weir?"              a semantic hit
      weir ask --user bob "What is a weir?"           another tenant: a miss
    """
)
@click.argument("question")
@click.option("--user", default="alice", show_default=True, help="Who asks; each has answers of his own.")
@click.option("--model", default="small", show_default=True, help="Model asked.")
@click.option("--max-tokens", type=click.IntRange(1), default=40, show_default=True, help="Length of the answer.")
@click.option("--gateway", default="http://127.0.0.1:10000", show_default=True, help="Where the model is asked.")
@click.option("--target", default="localhost:8082", show_default=True, help="host:port of the cache.")
def ask(question: str, **options: Any) -> None:  # noqa: ANN401 - click passes options by name
    """Ask QUESTION: the cache first, and the gateway where that has no answer.

    Exits with 0, or with 2 if there is no answer.
    """
    run(_ask(question, options))


async def _ask(question: str, options: dict[str, Any]) -> int:
    asking = Asking(options["target"], options["gateway"], SystemClock())
    try:
        asked = await asking.ask(
            question, user=options["user"], model=options["model"], max_tokens=options["max_tokens"]
        )
    except aiohttp.ClientError as error:
        click.echo(f"{options['gateway']}: {error}", err=True)
        return STATUS_ERROR
    finally:
        await asking.close()
    click.echo(line(asked), err=True)
    click.echo(asked.answer)
    return 0


def line(asked: Asked) -> str:
    """Return what became of a question, in one line."""
    return f"{describe(asked.found)} · {asked.milliseconds:.0f} ms · {asked.tokens} tokens charged"
