"""Who spends what, as seen at the gateway: Envoy's access log says who, the service says how much is left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from weir.client import Answer, Client, Entries

DOMAIN = "llm"

# Budgets shown; the one that moved longest ago leaves first.
BUDGETS_MAX = 20

# Precedent: NEAR_LIMIT_RATIO of the service.
NEAR_RATIO = 0.8

STYLES = {"ok": "green", "near": "yellow", "over": "red"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer."""

    user: str | None
    model: str | None
    tokens: int
    status: int

    def descriptors(self) -> list[Entries]:
        """Return what Envoy asked about."""
        named = (("user", self.user), ("model", self.model))
        return [((key, value),) for key, value in named if value]


def read_exchange(line: bytes) -> Exchange | None:
    """Read a line of Envoy's access log; None for anything else."""
    try:
        found = json.loads(line)
        return Exchange(found["user"], found["model"], int(found["tokens"] or 0), int(found["status"]))
    except (ValueError, KeyError, TypeError):
        return None


def state(answer: Answer) -> str:
    """Return `ok`, `near` or `over`."""
    if answer.is_over:
        return "over"
    return "near" if answer.amount is not None and answer.spent > NEAR_RATIO * answer.amount else "ok"


def label(entries: Entries) -> str:
    """Return a descriptor in one line."""
    return ", ".join(f"{key}={value}" for key, value in entries)


def line(exchange: Exchange, answers: Sequence[Answer]) -> str:
    """Return one exchange and the budgets it touched, in one line."""
    budgets = "  ".join(
        f"{label(each.entries)}: {each.spent} of {each.amount} ({state(each)})"
        for each in answers
        if each.amount is not None
    )
    return f"{exchange.status}  {exchange.tokens:>5} tokens  {budgets or 'no limit applies'}"


class Board:
    """The budgets that moved last."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answers: dict[Entries, Answer] = {}

    async def note(self, exchange: Exchange) -> list[Answer]:
        """Take an exchange in and return the budgets it touched."""
        descriptors = exchange.descriptors()
        for each in descriptors:
            self._answers.pop(each, None)
        answers = await self._ask(descriptors)
        while len(self._answers) > BUDGETS_MAX:
            del self._answers[next(iter(self._answers))]
        return answers

    async def refresh(self) -> None:
        """Look again at everything shown: windows end by themselves."""
        await self._ask(list(self._answers))

    async def _ask(self, descriptors: list[Entries]) -> list[Answer]:
        if not descriptors:
            return []
        answers = list((await self._client.ask(DOMAIN, descriptors)).answers)
        self._answers.update({each.entries: each for each in answers})
        return answers

    def table(self) -> Table:
        """Draw the budgets that have a limit."""
        table = Table(title="Budgets", title_justify="left", expand=False)
        for column in ("who", "spent", "", "state", "ends in"):
            table.add_column(column, justify="right" if column == "ends in" else "left")
        for each in self._answers.values():
            if each.amount is not None:
                table.add_row(*_row(each, each.amount))
        return table


def _row(answer: Answer, amount: int) -> tuple[str, str, ProgressBar, Text, str]:
    name = state(answer)
    bar = ProgressBar(total=amount or 1, completed=answer.spent, width=24, complete_style=STYLES[name])
    spent = f"{answer.spent:,} of {amount:,} per {answer.unit}"
    return label(answer.entries), spent, bar, Text(name, STYLES[name]), f"{answer.reset_seconds} s"
