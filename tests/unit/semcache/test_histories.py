"""Conversations that are compared by their meaning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from semcache.answers import Outcome, Reason, Turn
from tests.fakes.caches import make_world, namespace

PASSWORD = "how do I reset my password"
NEAR = "how do I reset my own password"
SIMILAR = namespace(history="similar")
CHAT = [{"role": "user", "content": "I forgot the secret word of my account yesterday evening"}]
OTHERWISE = [{"role": "user", "content": "I forgot the secret word of my account just yesterday evening"}]
ELSEWHERE = [{"role": "user", "content": "my printer has no paper and blinks"}]


def turn(prompt: str, others: Any) -> Turn:
    return Turn(prompt, others, "\n".join(f"{each['role']}: {each['content']}" for each in others or []))


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (CHAT, (Outcome.SEMANTIC, Reason.NONE, "verifier")),
        (OTHERWISE, (Outcome.SEMANTIC, Reason.NONE, "verifier")),
        (ELSEWHERE, (Outcome.MISS, Reason.OTHER_HISTORY, "history")),
        (None, (Outcome.MISS, Reason.OTHER_HISTORY, "history")),
    ],
    ids=["equal", "alike", "another", "none"],
)
async def test_a_conversation_may_be_compared_by_meaning(others: Any, expected: object) -> None:
    world = await make_world()
    world.namespace = SIMILAR
    await world.store_one("", turn=turn(PASSWORD, CHAT))

    answer = await world.lookup("", turn=turn(NEAR, others))

    assert (answer.outcome, answer.reason, answer.step) == expected


async def test_compared_by_meaning_a_conversation_may_be_longer_than_what_the_verifier_weighs() -> None:
    world = await make_world()
    world.namespace = SIMILAR
    told_at_length = [{"role": "user", "content": "I lost the paper with the secret word on it. " * 5 + "Truly."}]
    told_otherwise = [{"role": "user", "content": "I lost the paper with the secret word on it. " * 5 + "Really."}]
    await world.store_one("", turn=turn(PASSWORD, told_at_length))

    assert (await world.lookup("", turn=turn(NEAR, told_otherwise))).outcome is Outcome.SEMANTIC


@pytest.mark.parametrize("prompt", [PASSWORD, NEAR])
async def test_compared_by_meaning_what_is_fixed_must_still_be_equal(prompt: str) -> None:
    world = await make_world()
    world.namespace = SIMILAR
    pirate, lawyer = ([{"role": "system", "content": f"You are a {role}"}] for role in ("pirate", "lawyer"))
    await world.store_one("", turn=replace(turn(PASSWORD, CHAT), fixed=pirate))

    same, other = [
        await world.lookup("", turn=replace(turn(prompt, OTHERWISE), fixed=fixed)) for fixed in (pirate, lawyer)
    ]

    assert (same.outcome, other.outcome) == (Outcome.SEMANTIC, Outcome.MISS)


async def test_compared_by_meaning_the_same_prompt_is_exact_only_after_the_same_conversation() -> None:
    world = await make_world()
    world.namespace = SIMILAR
    await world.store_one("", turn=turn(PASSWORD, CHAT))

    outcomes = [(await world.lookup("", turn=turn(PASSWORD, others))).outcome for others in (CHAT, OTHERWISE)]

    assert outcomes == [Outcome.EXACT, Outcome.SEMANTIC]
