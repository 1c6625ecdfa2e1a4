"""What every entry store does: the fake, Qdrant Edge, Qdrant's client in process and over gRPC, a server at QDRANT_URL.

One file: it is one contract, and every kind of store runs all of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from semcache.embedder import ModelIdentity
from semcache.entry import Completion, EmbeddedEntry, Entry, EntryId, Record, State
from semcache.errors import StoreRefused
from semcache.invalidation import NOTED_MAX, Moment, Noted
from semcache.settings import EdgeSettings, QdrantSettings
from semcache.store import EntryStore, EntryStores, Question, Selector
from semcache.stores.edge.root import EdgeStores
from semcache.stores.qdrant.root import QdrantStores
from tests.fakes.entries import DIMENSIONS, MODEL, NOW, OTHER_SCOPE, SCOPE, angle, entry, row
from tests.fakes.qdrant_server import QdrantServer
from tests.fakes.store import FakeStores

# What the client says of its in-process form, where indexes, strict mode and quantisation do nothing.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

# Read here: no other test may see it, and every test begins without it.
SERVER = QdrantSettings(timeout=30.0) if os.environ.get("QDRANT_URL") else None
KINDS = ["fake", "edge", "qdrant-in-process", "qdrant-over-grpc", *(["qdrant-server"] if SERVER else [])]


def make_stores(kind: str, folder: Path) -> EntryStores:
    if kind == "fake":
        return FakeStores()
    if kind == "edge":
        return EdgeStores(EdgeSettings(folder=str(folder / "edge"), timeout=30.0))
    if kind == "qdrant-in-process":
        return QdrantStores(QdrantSettings(url=SecretStr(":memory:")))
    assert SERVER is not None
    return QdrantStores(SERVER.model_copy(update={"collection_prefix": f"test_{uuid.uuid4().hex}_"}))


def over_grpc(server: QdrantServer) -> QdrantSettings:
    # Few entries a query, so that what is longer goes in pieces.
    return QdrantSettings(url=SecretStr("http://127.0.0.1:6333"), grpc_port=server.port, query_entries_max=7)


@pytest.fixture(params=KINDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EntryStores]:
    server = QdrantServer() if request.param == "qdrant-over-grpc" else None
    if server is not None:
        await server.start()
    stores = QdrantStores(over_grpc(server)) if server else make_stores(request.param, tmp_path)
    await stores.start()
    yield stores
    if request.param == "qdrant-server":
        assert isinstance(stores, QdrantStores)
        await stores.erase()
    await stores.stop()
    if server is not None:
        await server.stop()


@pytest.fixture
async def store(stores: EntryStores) -> EntryStore:
    return await stores.open(MODEL)


def ask(degrees: float = 0.0, **fields: object) -> Question:
    return replace(Question(SCOPE, 0, angle(degrees)), **fields)  # type: ignore[arg-type] # names of its fields


async def prompts(store: EntryStore, question: Question, now: float = NOW) -> list[str]:
    (candidates,) = await store.nearest([question], now)
    return [candidate.prompt for candidate in candidates]


async def left(store: EntryStore, selector: Selector | None = None) -> set[str]:
    page = await store.scan(selector or Selector(), 100)
    return {each.entry.prompt for each in page.entries}


async def test_an_entry_comes_back_as_it_was_stored(store: EntryStore) -> None:
    stored = row(
        "wie spät? 'x' \"y\" \n 日本",
        tags=("doc:1", "v2"),
        source={"request": "r-1", "writer": "gateway"},
        history="was ist 'Zeit'? \n 時間",
        epoch=1_700_000_000_123,
        created_at=NOW - 0.25,
        record=Record(hits=3, right=2, wrong=1, used_at=NOW - 1.5),
    )

    await store.add([stored])

    assert await store.get([stored.entry.id], NOW) == [stored.entry]


async def test_a_time_stays_what_it_was_read_as_however_often_it_is_stored_again(store: EntryStore) -> None:
    draw = random.Random(1)
    times = {row(str(number)).entry.id: NOW + draw.uniform(-1, 1) for number in range(200)}
    await store.add([row(str(number), created_at=NOW - 1 / 3) for number in range(200)])
    await store.amend({each: Record(hits=1, used_at=at) for each, at in times.items()})

    async def read() -> list[Entry]:
        return [each for each in await store.get([*times], NOW) if each is not None]

    first = await read()
    for _ in range(3):
        await store.add([EmbeddedEntry(each, angle(0)) for each in await read()])

    assert [each.record.used_at for each in first] == pytest.approx([*times.values()], rel=0, abs=1e-6)
    assert await read() == first


async def test_get_answers_in_the_order_asked_for_and_none_for_what_is_not_there(store: EntryStore) -> None:
    first, second, missing = row("first"), row("second"), entry("missing")
    await store.add([first, second])

    found = await store.get([second.entry.id, missing.id, first.entry.id, second.entry.id], NOW)

    assert found == [second.entry, None, first.entry, second.entry]


async def test_nothing_asked_is_nothing_answered(store: EntryStore) -> None:
    assert (await store.get([], NOW), await store.nearest([], NOW)) == ([], [])


async def test_nothing_given_is_nothing_done(store: EntryStore) -> None:
    await store.add([])
    await store.amend({})

    assert await store.count(Selector()) == 0


async def test_the_nearest_come_first_with_their_cosine(store: EntryStore) -> None:
    await store.add([row("far", 40), row("near", 10), row("same", 0), row("across", 90)])

    (candidates,) = await store.nearest([ask(limit=3)], NOW)

    assert [candidate.prompt for candidate in candidates] == ["same", "near", "far"]
    assert [candidate.similarity for candidate in candidates] == pytest.approx([1.0, 0.98481, 0.76604], abs=2e-3)


async def test_a_candidate_carries_what_a_verifier_needs(store: EntryStore) -> None:
    stored = row("near", 10)
    await store.add([stored])

    ((candidate,),) = await store.nearest([ask()], NOW)

    assert (candidate.id, candidate.prompt) == (stored.entry.id, "near")


@pytest.mark.parametrize("whole_from", [0.0, 0.97, 0.99], ids=["always", "near", "nearer"])
async def test_what_a_search_brings_along_is_the_nearest_entry_as_it_is_now(
    store: EntryStore, whole_from: float
) -> None:
    await store.add([row("near", 10, source={"request": "r-1"}), row("far", 40)])
    await store.amend({entry("near").id: Record(hits=1, used_at=NOW)})

    ((near, far),) = await store.nearest([ask(whole_from=whole_from)], NOW)

    # A store may bring nothing: then the entry is got by its id.
    assert near.entry in {None, *await store.get([near.id], NOW)}
    assert near.entry is None or near.similarity >= whole_from
    assert far.entry is None


async def test_below_the_least_similarity_nothing_is_found(store: EntryStore) -> None:
    await store.add([row("near", 10), row("far", 40)])

    assert await prompts(store, ask(similarity_min=0.9)) == ["near"]


async def test_an_entry_without_a_place_is_near_nothing_and_found_by_its_id(store: EntryStore) -> None:
    lost = EmbeddedEntry(entry("lost"), np.zeros(DIMENSIONS, np.float32))
    await store.add([lost, row("near", 10)])

    assert await prompts(store, ask(similarity_min=0.01)) == ["near"]
    assert await prompts(store, Question(SCOPE, 0, lost.embedding, similarity_min=0.01)) == []
    assert await store.get([lost.entry.id], NOW) == [lost.entry]


async def test_questions_of_a_batch_do_not_mix(store: EntryStore) -> None:
    await store.add([row("mine", 0), row("yours", 5, scope=OTHER_SCOPE)])

    found = await store.nearest([ask(), ask(scope=OTHER_SCOPE), ask(epoch=7), ask(90, similarity_min=0.5)], NOW)

    assert [[candidate.prompt for candidate in each] for each in found] == [["mine"], ["yours"], [], []]


async def test_another_scope_is_never_found_however_near(store: EntryStore) -> None:
    await store.add([row(f"theirs {number}", 0, scope=OTHER_SCOPE) for number in range(20)] + [row("mine", 30)])

    assert await prompts(store, ask(limit=3)) == ["mine"]


async def test_another_epoch_is_never_found(store: EntryStore) -> None:
    await store.add([row("old", 0, epoch=1), row("new", 20, epoch=2)])

    assert await prompts(store, ask(epoch=2)) == ["new"]


@pytest.mark.parametrize(("now", "is_there"), [(NOW + 59.9, True), (NOW + 60, False), (NOW + 61, False)])
async def test_an_entry_is_there_until_it_expires(store: EntryStore, now: float, is_there: bool) -> None:  # noqa: FBT001
    await store.add([row("short")])

    assert (await store.get([entry("short").id], now) != [None]) is is_there
    assert (await prompts(store, ask(), now) == ["short"]) is is_there


async def test_an_entry_in_quarantine_is_kept_and_not_served(store: EntryStore) -> None:
    await store.add([row("wrong", record=Record(state=State.QUARANTINED))])

    assert await store.get([entry("wrong").id], NOW) == [None]
    assert await prompts(store, ask()) == []
    assert await store.count(Selector()) == 1


async def test_an_entry_that_may_not_be_served_hides_none_behind_it(store: EntryStore) -> None:
    await store.add(
        [
            row("expired", 1, expires_at=NOW),
            row("of an older epoch", 2, epoch=1),
            row("quarantined", 3, record=Record(State.QUARANTINED)),
            row("older than asked for", 4, created_at=NOW - 9),
            row("good", 5),
        ]
    )

    assert await prompts(store, ask(0, limit=1, created_after=NOW - 5)) == ["good"]


async def test_a_caller_may_ask_for_younger_entries_only(store: EntryStore) -> None:
    await store.add([row("older", 0, created_at=NOW - 11), row("younger", 20, created_at=NOW - 10)])

    assert await prompts(store, ask(created_after=NOW - 10)) == ["younger"]


async def test_storing_again_replaces(store: EntryStore) -> None:
    await store.add([row("same", 0, tags=("old",))])
    await store.add([row("same", 80, tags=("new",), expires_at=NOW + 5)])

    (kept,) = (await store.scan(Selector(), 10)).entries
    assert kept.entry == entry("same", tags=("new",), expires_at=NOW + 5)
    assert kept.embedding == pytest.approx(angle(80), abs=1e-5)


async def test_an_embedding_of_another_size_stores_nothing(store: EntryStore) -> None:
    wrong = replace(row("wrong"), embedding=np.ones(3, np.float32))

    with pytest.raises(StoreRefused, match="dimensions"):
        await store.add([row("right"), wrong])

    assert await store.count(Selector()) == 0


async def test_a_record_is_replaced_and_nothing_else(store: EntryStore) -> None:
    await store.add([row("kept", 30, tags=("a",))])
    record = Record(State.QUARANTINED, 1, 2, 3, NOW + 9)

    await store.amend({entry("kept").id: record})

    (kept,) = (await store.scan(Selector(), 10)).entries
    assert kept.entry == entry("kept", tags=("a",), record=record)
    assert kept.embedding == pytest.approx(angle(30), abs=1e-5)


async def test_the_record_of_an_entry_that_is_gone_makes_none(store: EntryStore) -> None:
    await store.add([row("there")])

    await store.amend({entry("gone").id: Record(hits=1), entry("there").id: Record(hits=2)})

    assert await store.count(Selector()) == 1
    (found,) = await store.get([entry("there").id], NOW)
    assert found is not None
    assert found.record.hits == 2


SELECTORS = {
    "all": (Selector(), {"a", "b", "c"}),
    "namespace": (Selector(namespace="sales"), {"b"}),
    "scope": (Selector(scope=OTHER_SCOPE), {"c"}),
    "tenant": (Selector(tenant="globex"), {"c"}),
    "one of its tags": (Selector(tag="doc:1"), {"a", "b"}),
    "ids": (Selector(ids=(entry("a").id, entry("not there").id)), {"a"}),
    "no ids": (Selector(ids=()), set()),
    "expired": (Selector(expired_at=NOW), {"b"}),
    "older epochs": (Selector(epoch_below=5), {"a", "b"}),
    "all conditions": (Selector(namespace="support", tag="doc:1"), {"a"}),
}


@pytest.mark.parametrize(("selector", "expected"), SELECTORS.values(), ids=SELECTORS.keys())
async def test_a_selector_selects(store: EntryStore, selector: Selector, expected: set[str]) -> None:
    await store.add(
        [
            row("a", tags=("doc:1", "doc:2")),
            row("b", namespace="sales", tags=("doc:1",), expires_at=NOW),
            row("c", scope=OTHER_SCOPE, tenant="globex", epoch=5),
        ]
    )

    assert await left(store, selector) == expected
    assert await store.count(selector) == len(expected)
    assert await store.remove(selector, 10) == len(expected)
    assert await left(store) == {"a", "b", "c"} - expected


async def test_removing_goes_in_pieces_and_says_when_none_is_left(store: EntryStore) -> None:
    await store.add([row(f"p{number}") for number in range(5)])

    removed = [await store.remove(Selector(namespace="support"), 2) for _ in range(4)]

    assert removed == [2, 2, 1, 0]


async def test_what_is_removed_is_not_found(store: EntryStore) -> None:
    await store.add([row("gone")])

    await store.remove(Selector(tenant="acme"), 10)

    assert await store.get([entry("gone").id], NOW) == [None]
    assert await prompts(store, ask()) == []


async def test_eviction_takes_what_is_worth_least_of_its_namespace(store: EntryStore) -> None:
    await store.add(
        [
            row("used", record=Record(hits=100, used_at=NOW)),
            row("new", record=Record(used_at=NOW)),
            row("old", record=Record(used_at=NOW - 3600)),
            row("wrong", record=Record(hits=100, wrong=1, used_at=NOW)),
            row("quarantined", record=Record(State.QUARANTINED, hits=100, used_at=NOW)),
            row("elsewhere", namespace="sales", record=Record(used_at=0)),
        ]
    )

    assert await store.evict("support", 3) == 3

    assert await left(store) == {"used", "new", "elsewhere"}


async def test_a_live_record_does_not_replace_a_quarantined_one(store: EntryStore) -> None:
    await store.add([row("p")])
    judged = Record(State.QUARANTINED, hits=1, wrong=1)
    await store.amend({entry("p").id: judged})

    await store.amend({entry("p").id: Record(hits=7)})

    (kept,) = (await store.scan(Selector(), 10)).entries
    assert kept.entry.record == judged
    assert await prompts(store, ask()) == []


async def test_an_amended_record_counts_in_eviction(store: EntryStore) -> None:
    await store.add([row("a", record=Record(used_at=NOW)), row("b", record=Record(used_at=NOW + 1))])
    await store.amend({entry("a").id: Record(hits=1, used_at=NOW + 2)})

    await store.evict("support", 1)

    assert await left(store) == {"a"}


async def test_compacting_keeps_what_is_there(store: EntryStore) -> None:
    await store.add([row(f"p{number}", number) for number in range(5)])
    await store.remove(Selector(ids=(entry("p1").id, entry("p3").id)), 10)

    await store.compact()

    assert await left(store) == {"p0", "p2", "p4"}
    assert await prompts(store, ask(4, limit=1)) == ["p4"]


@pytest.mark.parametrize("change", ["remove", "evict", "replace"])
async def test_a_store_that_can_forget_says_since_when_it_has_to(store: EntryStore, change: str) -> None:
    await store.add([row("p1"), row("p2")])
    before = await store.removed_at()
    if change == "remove":
        await store.remove(Selector(ids=(entry("p1").id,)), 1)
    elif change == "evict":
        await store.evict("support", 1)
    else:
        await store.add([row("p1", completion=Completion("another answer"))])
    after = await store.removed_at()

    can_forget = await store.compact()

    assert (before, after is not None, await store.removed_at()) == (None, can_forget, None)


async def test_what_changes_no_text_is_nothing_to_forget(store: EntryStore) -> None:
    await store.add([row("p1", record=Record(State.PENDING))])
    await store.publish([entry("p1")])
    await store.amend({entry("p1").id: Record(State.QUARANTINED, wrong=1)})
    await store.add([row("p1")])
    await store.remove(Selector(tag="none has it"), 10)

    assert await store.removed_at() is None


async def test_entries_are_selected_by_when_they_were_stored(store: EntryStore) -> None:
    await store.add([row("old", created_at=NOW - 1), row("then"), row("new", created_at=NOW + 1)])

    assert await left(store, Selector(created_before=NOW)) == {"old", "then"}


async def test_a_scan_sees_every_entry_once(store: EntryStore) -> None:
    await store.add([row(f"p{number}", number) for number in range(23)])

    seen: list[str] = []
    start: EntryId | None = None
    while True:
        page = await store.scan(Selector(namespace="support"), 5, start)
        seen += [each.entry.prompt for each in page.entries]
        start = page.next
        if start is None:
            break

    assert sorted(seen) == sorted(f"p{number}" for number in range(23))


async def test_a_store_is_healthy_when_it_answers(store: EntryStore) -> None:
    await store.count(Selector())

    assert store.is_healthy


async def test_models_do_not_see_each_other(stores: EntryStores) -> None:
    small, other = MODEL, ModelIdentity(MODEL.name, MODEL.revision, "int8", MODEL.dimensions)
    first, second = await stores.open(small), await stores.open(other)

    await first.add([row("mine")])

    assert (await first.count(Selector()), await second.count(Selector())) == (1, 0)
    assert (first.identity, second.identity) == (small, other)
    assert await stores.models() == {small.slug: small, other.slug: other}


async def test_opening_at_once_is_one_store(stores: EntryStores) -> None:
    first, second = await asyncio.gather(stores.open(MODEL), stores.open(MODEL))

    assert first is second


async def test_opening_twice_is_one_store(stores: EntryStores) -> None:
    assert await stores.open(MODEL) is await stores.open(MODEL)


async def test_an_alias_moves_and_moves_back(stores: EntryStores) -> None:
    other = ModelIdentity(MODEL.name, "r2", "fp32", MODEL.dimensions)
    await stores.open(MODEL)
    await stores.open(other)

    seen = []
    for slug in (MODEL.slug, other.slug, MODEL.slug):
        await stores.serve("support", slug)
        seen.append((await stores.aliases())["support"])

    assert seen == [MODEL.slug, other.slug, MODEL.slug]


@pytest.mark.parametrize("alias", ["support", "Support", "söme_näme", "a/b c", "_"])
async def test_an_alias_may_be_any_text(stores: EntryStores, alias: str) -> None:
    await stores.open(MODEL)

    await stores.serve(alias, MODEL.slug)
    await stores.serve("SUPPORT", MODEL.slug)

    assert await stores.aliases() == {alias: MODEL.slug, "SUPPORT": MODEL.slug}


async def test_an_alias_needs_a_store(stores: EntryStores) -> None:
    with pytest.raises(StoreRefused):
        await stores.serve("support", "nothing")


async def test_a_model_that_answers_for_an_alias_is_not_dropped(stores: EntryStores) -> None:
    store = await stores.open(MODEL)
    await store.add([row("kept")])
    await stores.serve("support", MODEL.slug)

    with pytest.raises(StoreRefused):
        await stores.drop(MODEL.slug)

    assert await store.count(Selector()) == 1


async def test_a_dropped_model_is_empty_when_it_is_opened_again(stores: EntryStores) -> None:
    store = await stores.open(MODEL)
    await store.add([row("gone")])

    await stores.drop(MODEL.slug)
    await stores.drop(MODEL.slug)

    assert await stores.models() == {}
    assert await (await stores.open(MODEL)).count(Selector()) == 0


async def test_an_epoch_starts_at_nothing_and_only_grows(stores: EntryStores) -> None:
    seen = [each.epoch for each in await stores.moments(["support", "sales"])]
    seen += [await stores.advance_epoch("support", now) for now in (NOW, NOW, NOW - 3600, NOW + 1)]
    seen += [each.epoch for each in await stores.moments(["sales", "support"])]

    base = int(NOW * 1000)
    assert seen == [0, 0, base, base + 1, base + 2, base + 1000, 0, base + 1000]


async def test_a_moment_that_is_known_is_the_one_that_would_be_told(stores: EntryStores) -> None:
    await stores.advance_epoch("support", 5.0)
    told = await stores.moments(["support", "sales"])

    assert stores.known_moments(["support", "sales"]) in (None, told)


async def test_a_note_says_what_was_noted_last(stores: EntryStores) -> None:
    texts = {f"gate {number} of 日本/..": json.dumps({"n": number, "long": "x" * 2_000}) for number in range(20)}
    for name, text in texts.items():
        await stores.note("gates", name, text)
    await stores.note("others", "gate 1 of 日本/..", "of another topic")
    await stores.note("gates", "gate 1 of 日本/..", "later")

    assert await stores.notes("gates") == texts | {"gate 1 of 日本/..": "later"}
    assert await stores.notes("none") == {}


async def test_notes_change_no_epoch(stores: EntryStores) -> None:
    await stores.note("gates", "support", "text")

    assert await stores.moments(["support"]) == [Moment()]


async def test_a_mark_only_grows_and_moves_no_epoch(stores: EntryStores) -> None:
    epoch = await stores.advance_epoch("support", NOW)
    marks = [await stores.invalidate("support", ["a"], now) for now in (NOW, NOW, NOW - 3600, NOW + 1)]

    base = int(NOW * 1000)
    assert marks == [base, base + 1, base + 2, base + 1000]
    assert await stores.moments(["sales", "support"]) == [Moment(), Moment(epoch, base + 1000)]


async def test_what_was_invalidated_is_told_from_a_mark_on(stores: EntryStores) -> None:
    first = await stores.invalidate("support", ["a", "b"], NOW)
    second = await stores.invalidate("support", ["c"], NOW)
    await stores.invalidate("sales", ["d"], NOW)

    everything = await stores.invalidations("support", 0)
    later = await stores.invalidations("support", first)

    assert {(each.mark, each.subject) for each in everything} == {(first, "a"), (first, "b"), (second, "c")}
    assert later == [Noted(second, "c")]
    assert await stores.invalidations("support", second) == []


async def test_the_latest_invalidations_are_remembered_and_no_more(stores: EntryStores) -> None:
    first = await stores.invalidate("support", [str(number) for number in range(NOTED_MAX)], NOW)
    second = await stores.invalidate("support", ["x", "y"], NOW)

    assert len(await stores.invalidations("support", 0)) == NOTED_MAX
    assert {each.subject for each in await stores.invalidations("support", first)} == {"x", "y"}
    assert (await stores.moments(["support"]))[0].mark == second


async def test_what_is_pending_is_not_served_until_it_is_published(store: EntryStore) -> None:
    added = row("new", record=Record(State.PENDING, hits=2, used_at=NOW))
    published = replace(added.entry, record=Record(hits=2, used_at=NOW))
    await store.add([added])
    before = (await store.get([added.entry.id], NOW), await prompts(store, ask()))

    await store.publish([published, entry("gone")])
    await store.publish([])

    assert before == ([None], [])
    assert (await store.get([added.entry.id], NOW), await prompts(store, ask())) == ([published], ["new"])
    assert await store.count(Selector()) == 1


async def test_whenever_an_entry_was_added_it_is_published(store: EntryStore) -> None:
    draw = random.Random(1)
    pending = [
        row(str(number), created_at=NOW - draw.random(), record=Record(State.PENDING, used_at=NOW))
        for number in range(50)
    ]
    await store.add(pending)

    await store.publish([replace(each.entry, record=Record(used_at=NOW)) for each in pending])

    assert None not in await store.get([each.entry.id for each in pending], NOW)
    assert await store.count(Selector(created_before=min(each.entry.created_at for each in pending))) == 1


async def test_only_what_was_added_is_published(store: EntryStore) -> None:
    older = entry("one")
    await store.add(
        [
            row("one", created_at=NOW + 0.000_001, record=Record(State.PENDING)),
            row("two", record=Record(State.QUARANTINED)),
        ]
    )

    await store.publish([older, entry("two")])

    assert await store.get([older.id, entry("two").id], NOW) == [None, None]


async def test_uses_of_the_answer_before_leave_a_pending_one_pending_and_a_published_one_served(
    store: EntryStore,
) -> None:
    pending, served = row("pending", record=Record(State.PENDING)), row("served")
    await store.add([pending, served])

    await store.amend({pending.entry.id: Record(hits=1), served.entry.id: Record(State.PENDING, hits=1)})

    assert await store.get([pending.entry.id, served.entry.id], NOW) == [None, served.entry]


async def test_what_is_pending_can_be_removed_alone(store: EntryStore) -> None:
    await store.add([row("pending", record=Record(State.PENDING)), row("served")])

    removed = await store.remove(Selector(ids=(entry("pending").id, entry("served").id), state=State.PENDING), 10)

    assert (removed, await left(store)) == (1, {"served"})


async def test_evicting_more_than_there_is_takes_what_there_is(store: EntryStore) -> None:
    await store.add([row("a"), row("b"), row("elsewhere", namespace="sales")])

    assert await store.evict("support", 3) == 2

    assert await left(store) == {"elsewhere"}
