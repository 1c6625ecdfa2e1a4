from __future__ import annotations

import json
import logging

import pytest

from semcache.errors import StoreUnavailable
from semcache.invalidation import Moment
from semcache.judging import Judges
from semcache.learned import TOPIC, Learned
from semcache.tickets import Ticket
from tests.fakes.caches import make_judges, namespace
from tests.fakes.entries import SCOPE
from tests.fakes.store import FakeStores

MODEL = "m"


def teach(judges: Judges, lookup: str) -> None:
    judges.learn(namespace(), MODEL, Ticket("support", SCOPE, Moment(), None, 4.0, lookup), is_right=True, now=0.0)


def labels(judges: Judges) -> int:
    return len(judges.gate(namespace(), MODEL).labels)


async def test_what_is_learned_at_one_replica_is_known_to_all_after_an_exchange_of_each() -> None:
    stores, one, other = FakeStores(), make_judges(), make_judges()
    teach(one, "a")
    teach(other, "b")

    for judges in (one, other, one):
        await Learned(judges, stores, 1.0).exchange()

    assert (labels(one), labels(other)) == (2, 2)


async def test_what_another_replica_wrote_over_is_written_again() -> None:
    stores, one = FakeStores(), make_judges()
    exchanging = Learned(one, stores, 1.0)
    before = await empty_note(stores)
    teach(one, "a")
    await exchanging.exchange()

    await stores.note(TOPIC, "support m", before)
    await exchanging.exchange()

    assert len(json.loads((await stores.notes(TOPIC))["support m"])["labels"]) == 1


async def empty_note(stores: FakeStores) -> str:
    fresh = make_judges()
    fresh.gate(namespace(), MODEL)
    await Learned(fresh, stores, 1.0).exchange()
    return (await stores.notes(TOPIC))["support m"]


async def test_a_note_that_says_nothing_new_is_not_written() -> None:
    stores, one, other = FakeStores(), make_judges(), make_judges()
    teach(one, "a")
    exchanging = Learned(one, stores, 1.0)
    await exchanging.exchange()
    await Learned(other, stores, 1.0).exchange()
    written = dict(await stores.notes(TOPIC))

    await exchanging.exchange()

    assert await stores.notes(TOPIC) == written


async def test_a_gate_that_has_new_requests_is_told_again() -> None:
    stores, one = FakeStores(), make_judges()
    teach(one, "a")
    exchanging = Learned(one, stores, 1.0)
    await exchanging.exchange()
    before = (await stores.notes(TOPIC))["support m"]

    one.gate(namespace(), MODEL).decide(1.0, 1.0)
    await exchanging.exchange()

    assert len(json.loads(before)["requests"]) + 1 == len(
        json.loads((await stores.notes(TOPIC))["support m"])["requests"]
    )


@pytest.mark.parametrize("text", ["{", "[1]", '{"version": 2, "scale": "m", "labels": 1}'])
async def test_a_note_that_cannot_be_read_is_told_and_replaced(text: str, caplog: pytest.LogCaptureFixture) -> None:
    stores, one = FakeStores(), make_judges()
    await stores.note(TOPIC, "support m", text)
    teach(one, "a")

    with caplog.at_level(logging.WARNING):
        await Learned(one, stores, 1.0).exchange()

    assert "support m: what was learned cannot be read" in caplog.text
    assert len(json.loads((await stores.notes(TOPIC))["support m"])["labels"]) == 1


async def test_a_store_that_is_away_is_told_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    stores, one = FakeStores(), make_judges()
    teach(one, "a")
    exchanging = Learned(one, stores, 1.0)
    stores.failure = StoreUnavailable("away")
    await exchanging.exchange()
    stores.failure = None

    await exchanging.exchange()

    assert "is not exchanged: away" in caplog.text
    assert len(await stores.notes(TOPIC)) == 1


async def test_what_was_learned_is_there_after_a_restart() -> None:
    stores, before, after = FakeStores(), make_judges(), make_judges()
    running = Learned(before, stores, 3600.0)
    await running.start()
    teach(before, "a")

    await running.stop()
    following = Learned(after, stores, 3600.0)
    await following.start()
    await following.stop()

    assert labels(after) == 1


async def test_what_never_began_writes_nothing_when_it_is_stopped() -> None:
    stores, one = FakeStores(), make_judges()
    teach(one, "a")

    await Learned(one, stores, 1.0).stop()

    assert await stores.notes(TOPIC) == {}


async def test_what_is_noted_for_one_namespace_is_no_others() -> None:
    stores, one, other = FakeStores(), make_judges(), make_judges()
    teach(one, "a")
    other.gate(namespace(name="another"), MODEL)
    other.gate(namespace(), MODEL)

    for judges in (one, other):
        await Learned(judges, stores, 1.0).exchange()

    assert [len(other.gate(each, MODEL).labels) for each in (namespace(name="another"), namespace())] == [0, 1]
