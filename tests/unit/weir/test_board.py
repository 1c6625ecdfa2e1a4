from __future__ import annotations

import pytest
from rich.console import Console

from weir.client import Answer, Answers, Entries
from weir.demo.board import BUDGETS_MAX, Board, Exchange, line, read_exchange, state

USER = (("user", "alice"),)


def answer(spent: int, amount: int | None = 100, entries: Entries = USER) -> Answer:
    return Answer(entries, spent > (amount or 0), amount, "minute", "", max(0, (amount or 0) - spent), 30)


class Ledger:
    """Answers as the service would: what was spent by whom, of 100; models have no limit."""

    def __init__(self) -> None:
        self.spent: dict[Entries, int] = {}

    async def ask(self, _domain: str, descriptors: list[Entries], _hits: int = 0) -> Answers:
        return Answers(
            is_over=False, answers=tuple(answer(self.spent.get(each, 0), _amount(each), each) for each in descriptors)
        )


def _amount(entries: Entries) -> int | None:
    return None if entries[0][0] == "model" else 100


def drawn(board: Board) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(board.table())
    return capture.get()


def test_a_line_of_the_access_log_is_an_exchange() -> None:
    text = b'{"user":"alice","model":"small","tokens":12,"status":200,"milliseconds":3}\n'

    assert read_exchange(text) == Exchange("alice", "small", 12, 200)


def test_what_was_not_charged_has_no_tokens() -> None:
    assert read_exchange(b'{"user":"alice","model":null,"tokens":null,"status":429}') == Exchange("alice", None, 0, 429)


@pytest.mark.parametrize("text", [b"", b"[warning] something", b"[]", b'{"user": "alice"}'])
def test_any_other_line_is_none(text: bytes) -> None:
    assert read_exchange(text) is None


def test_envoy_asked_about_what_it_knew() -> None:
    assert Exchange("alice", "small", 1, 200).descriptors() == [USER, (("model", "small"),)]
    assert Exchange(None, "small", 1, 200).descriptors() == [(("model", "small"),)]


@pytest.mark.parametrize(
    ("spent", "amount", "expected"), [(80, 100, "ok"), (81, 100, "near"), (101, 100, "over"), (0, None, "ok")]
)
def test_near_begins_above_four_fifths(spent: int, amount: int | None, expected: str) -> None:
    assert state(answer(spent, amount)) == expected


def test_an_exchange_is_told_with_the_budgets_it_touched() -> None:
    unlimited = answer(0, None, (("model", "small"),))

    told = line(Exchange("alice", "small", 12, 200), [answer(92), unlimited])

    assert told == "200     12 tokens  user=alice: 92 of 100 (near)"


def test_an_exchange_without_a_budget_says_so() -> None:
    assert line(Exchange(None, None, 0, 404), []) == "404      0 tokens  no limit applies"


async def test_a_board_shows_who_spent_what_and_looks_again() -> None:
    ledger = Ledger()
    board = Board(ledger)
    ledger.spent[USER] = 90

    noted = await board.note(Exchange("alice", "small", 90, 200))
    ledger.spent[USER] = 0
    before = drawn(board)
    await board.refresh()

    assert noted == [answer(90), answer(0, None, (("model", "small"),))]
    assert "model" not in before
    assert "user=alice" in before
    assert "90 of 100 per minute" in before
    assert "near" in before
    assert "0 of 100 per minute" in drawn(board)


async def test_a_board_drops_what_moved_longest_ago() -> None:
    board = Board(Ledger())
    for number in range(BUDGETS_MAX + 1):
        await board.note(Exchange(f"user-{number:02}", None, 1, 200))
        await board.note(Exchange("user-00", None, 1, 200))

    text = drawn(board)

    assert "user-01" not in text
    assert text.count("user=user-") == BUDGETS_MAX
    assert "user-00" in text


async def test_an_exchange_that_envoy_asked_nothing_about_shows_nothing() -> None:
    assert await Board(Ledger()).note(Exchange(None, None, 0, 404)) == []
