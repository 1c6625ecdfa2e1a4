"""What a chat's turns are, the prompt, what must be equal and what may only mean the same; and scopes, which come again."""

from __future__ import annotations

import pytest

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.answers import Turn
from semcache.api.reading import read_scope, read_turn

IMAGE = '[{"type": "image_url", "image_url": {"url": "https://example.org/1.png"}}]'


def read(*messages: tuple[str, str] | tuple[str, str, str]) -> Turn:
    return read_turn(wire.Prompt(chat=wire.Chat(messages=[message(*each) for each in messages])))


def message(role: str, content: str, attachments: str = "") -> wire.Message:
    return wire.Message(role=role, content=content, attachments=attachments)


def test_what_user_and_assistant_said_may_mean_the_same() -> None:
    turn = read(("user", "Hello"), ("assistant", "How can  I help?"), ("user", "Who are you?"))

    assert (turn.prompt, turn.history, turn.fixed) == (
        *("Who are you?", "user: Hello\nassistant: How can I help?", None),
    )


def test_a_lone_turn_has_nothing_around_it() -> None:
    assert read(("user", "Who are you?")) == Turn("Who are you?")


@pytest.mark.parametrize("role", ["system", "developer", "tool", "function", "whatever"])
def test_what_others_said_must_be_equal(role: str) -> None:
    turn = read((role, "It rains."), ("user", "Shall I take the car?"))

    assert (turn.history, turn.fixed) == ("", [{"role": role, "content": "It rains."}])


def test_what_is_no_text_must_be_equal_whoever_showed_it_and_be_it_with_the_prompt() -> None:
    turn = read(("user", "Look", IMAGE), ("assistant", "I see"), ("user", "What is the colour?", IMAGE))

    (image,) = [turn.fixed[0]["attachments"]] if isinstance(turn.fixed, list) else [None]
    assert turn.fixed == [{"role": "user", "attachments": image}] * 2
    assert (image is not None, turn.history) == (True, "user: Look\nassistant: I see")


def test_a_scope_that_comes_again_is_the_one_that_was_read() -> None:
    first, again = (read_scope("support", wire.Scope(tenant="acme", tools='[{"name": "t"}]')) for _ in range(2))

    assert again is first


@pytest.mark.parametrize(
    "other",
    [("sales", wire.Scope(tenant="acme")), ("support", wire.Scope(tenant="acme", user="")), ("support", wire.Scope())],
    ids=["another namespace", "an empty field", "an absent one"],
)
def test_a_scope_that_is_remembered_is_nobody_elses(other: tuple[str, wire.Scope]) -> None:
    mine = read_scope("support", wire.Scope(tenant="acme"))

    assert read_scope(*other).id != mine.id


def test_a_scope_too_large_to_be_remembered_is_read_all_the_same() -> None:
    system_prompt = "weir " * 10_000

    first, again = (read_scope("support", wire.Scope(system_prompt=system_prompt)) for _ in range(2))

    assert (first == again, first is again, first.id == again.id) == (True, False, True)
