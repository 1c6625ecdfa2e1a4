"""The cache over gRPC: what a caller gets, on both transports."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.app import NAME
from semcache.settings import SemcacheGrpcSettings
from tests.fakes.semcache_service import (
    NAMESPACES,
    Served,
    lookup,
    serving,
    settings,
    store,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "How do I reset my password?"
NEAR = "How can I reset my password?"


@pytest_asyncio.fixture(params=["front", "grpcio"], scope="module", loop_scope="module")
async def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder: Path = tmp_path_factory.mktemp("semcache")
    listener = SemcacheGrpcSettings(grpc_host="127.0.0.1", grpc_port=0, transport=request.param)
    async with serving(settings(folder, NAMESPACES, grpc=listener)) as served:
        yield served


@pytest.fixture
def tenant() -> str:
    """A tenant of its own for each test: nobody sees what another one stored."""
    return uuid.uuid4().hex


def told(response: wire.LookupResponse) -> tuple[str, str, str]:
    return wire.Outcome.Name(response.outcome), wire.Reason.Name(response.reason), response.step


async def test_stored_then_found_by_the_same_words_and_by_other_ones(served: Served, tenant: str) -> None:
    missed = await served.call(lookup(PASSWORD, tenant=tenant))
    stored = await served.call(store(PASSWORD, tenant=tenant, completion={"usage": wire.Usage(output_tokens=7)}))
    exact = await served.call(lookup(PASSWORD, tenant=tenant))
    semantic = await served.call(lookup(NEAR, tenant=tenant))

    assert told(missed) == ("OUTCOME_MISS", "REASON_NOT_FOUND", "search")
    assert (stored.stored, bool(stored.expires_at.seconds)) == (True, True)
    assert told(exact) == ("OUTCOME_EXACT", "REASON_UNSPECIFIED", "exact")
    assert told(semantic) == ("OUTCOME_SEMANTIC", "REASON_UNSPECIFIED", "verifier")
    assert {exact.entry_id, semantic.entry_id} == {stored.entry_id}
    assert exact.completion == semantic.completion
    assert (exact.completion.text, exact.completion.finish_reason, exact.completion.usage.output_tokens) == (
        *("By mail.", "stop", 7),
    )
    assert 0.9 < semantic.similarity < 1
    assert exact.similarity == exact.confidence == 1


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        (
            "The river rose again. " * 80 + "Who built the dam?",
            "The river rose again. " * 80 + "What did the dam cost?",
        ),
        ("What does \U0001f44d mean in a chat?", "What does \U0001f44e mean in a chat?"),
        ("如何删除我的账户", "如何创建我的账户"),
        ("Decode the hexadecimal text " + "deadbeef" * 16, "Decode the hexadecimal text " + "cafebabe" * 16),
    ],
    ids=["beyond the window", "signs", "letters", "a long word"],
)
async def test_what_differs_only_where_the_model_does_not_read_is_no_hit(
    served: Served, tenant: str, stored: str, asked: str
) -> None:
    await served.call(store(stored, tenant=tenant))

    exact, other = [await served.call(lookup(prompt, tenant=tenant)) for prompt in (stored, asked)]

    assert told(exact)[0] == "OUTCOME_EXACT"
    assert (told(other), other.tokens_cut > 0) == (("OUTCOME_MISS", "REASON_UNREAD", "embed"), True)


async def test_another_tenant_finds_nothing(served: Served, tenant: str) -> None:
    await served.call(store(PASSWORD, tenant=tenant))

    assert told(await served.call(lookup(PASSWORD, tenant=tenant + "2")))[0] == "OUTCOME_MISS"
    assert told(await served.call(lookup(NEAR, tenant=tenant + "2")))[0] == "OUTCOME_MISS"


async def test_a_missing_tenant_is_a_bypass(served: Served) -> None:
    request = wire.LookupRequest(namespace="support", prompt=wire.Prompt(text=PASSWORD))

    response = await served.call(request)

    assert told(response) == ("OUTCOME_BYPASS", "REASON_MISSING_SCOPE", "scope")
    assert (response.missing, response.lookup_id, response.scope_id) == ("tenant", "", "")


async def test_json_in_a_scope_is_compared_as_json(served: Served, tenant: str) -> None:
    scope = {"tools": '[{"name": "t", "n": 1.0}]'}
    await served.call(store(PASSWORD, tenant=tenant, scope=scope))

    same = await served.call(lookup(PASSWORD, tenant=tenant, scope={"tools": '[ {"n":1,"name":"t"} ]'}))
    other = await served.call(lookup(PASSWORD, tenant=tenant, scope={"tools": '[{"name":"t","n":2}]'}))

    assert [told(each)[0] for each in (same, other)] == ["OUTCOME_EXACT", "OUTCOME_MISS"]


def chat(*turns: str) -> wire.Prompt:
    roles = ("system", "user", "assistant")
    messages = [wire.Message(role=roles[0] if index == 0 else roles[1 + (index + 1) % 2], content=turn) for index, turn in enumerate(turns)]  # fmt: skip
    return wire.Prompt(chat=wire.Chat(messages=messages))


async def test_of_a_chat_the_last_turn_is_the_prompt_and_the_rest_is_scope(served: Served, tenant: str) -> None:
    def ask(*turns: str) -> wire.LookupRequest:
        return wire.LookupRequest(namespace="support", scope=wire.Scope(tenant=tenant), prompt=chat(*turns))

    request = store(PASSWORD, tenant=tenant)
    request.prompt.CopyFrom(chat("Be kind.", "Hello there", "Hello!", PASSWORD))
    await served.call(request)

    asked = [
        ask("Be kind.", "Hello there", "Hello!", PASSWORD),
        ask("Be kind.", "Hello there", "Hello!", NEAR),
        ask("Be rude.", "Hello there", "Hello!", PASSWORD),
        ask("Be kind.", PASSWORD),
    ]
    answers = await asyncio.gather(*map(served.call, asked))

    assert [told(each)[0].removeprefix("OUTCOME_") for each in answers] == ["EXACT", "SEMANTIC", "MISS", "MISS"]


REFUSED: dict[str, tuple[Any, str]] = {
    "incomplete": ({"completion": {"finish_reason": "length"}}, "REFUSAL_INCOMPLETE"),
    "empty": ({"text": " "}, "REFUSAL_INCOMPLETE"),
    "tool calls": ({"completion": {"tool_calls": '[{"id": 1}]'}}, "REFUSAL_TOOL_CALLS"),
    "too large": ({"text": "x" * 70_000}, "REFUSAL_TOO_LARGE"),
    "hot": ({"temperature": 1.5}, "REFUSAL_TEMPERATURE"),
    "hot by its sampling": ({"scope": {"sampling": '{"temperature": 1.9}'}}, "REFUSAL_TEMPERATURE"),
    "deictic": ({"prompt": "continue"}, "REFUSAL_DEICTIC"),
    "switched off": ({"namespace": "closed"}, "REFUSAL_DISABLED"),
}


@pytest.mark.parametrize(("fields", "refusal"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_not_kept_is_told(served: Served, tenant: str, fields: Any, refusal: str) -> None:
    response = await served.call(store(**{"prompt": PASSWORD, "tenant": tenant, **fields}))

    assert (response.stored, wire.Refusal.Name(response.refusal), response.entry_id) == (False, refusal, "")


async def test_an_empty_list_of_tool_calls_is_none(served: Served, tenant: str) -> None:
    stored = await served.call(store(PASSWORD, tenant=tenant, completion={"tool_calls": "[]"}))
    found = await served.call(lookup(PASSWORD, tenant=tenant))

    assert (stored.stored, found.completion.tool_calls) == (True, "")


async def test_a_life_is_cut_to_the_most(served: Served, tenant: str) -> None:
    response = await served.call(store(PASSWORD, tenant=tenant, ttl=Duration(seconds=10**7)))

    now = served.service.clock.wall()
    assert 0.89 * 86_400 < response.expires_at.seconds - now <= 86_400


async def test_two_who_ask_the_same_make_one_fetch(served: Served, tenant: str) -> None:
    wait = Duration(seconds=40)
    first = await served.call(lookup(PASSWORD, tenant=tenant, lease=True, fill_wait=wait))
    second = asyncio.create_task(served.call(lookup(PASSWORD, tenant=tenant, lease=True, fill_wait=wait)))
    await served.until(lambda: served.value("lookups.waiting") == 1)

    await served.call(store(PASSWORD, tenant=tenant, lease_id=first.lease_id, lookup_id=first.lookup_id))

    assert (told(first)[0], bool(first.lease_id), first.lease_ttl.seconds) == ("OUTCOME_MISS", True, 60)
    assert told(await second)[0] == "OUTCOME_EXACT"


async def test_a_near_prompt_waits_for_the_first_ones_fetch(served: Served, tenant: str) -> None:
    wait = Duration(seconds=40)
    first = await served.call(lookup(PASSWORD, tenant=tenant, lease=True, fill_wait=wait))
    second = asyncio.create_task(served.call(lookup(NEAR, tenant=tenant, lease=True, fill_wait=wait)))
    await served.until(lambda: served.value("lookups.waiting") == 1)

    await served.call(store(PASSWORD, tenant=tenant, lease_id=first.lease_id))

    assert told(await second)[0] == "OUTCOME_SEMANTIC"


async def test_a_lease_that_is_given_back_goes_to_who_waits(served: Served, tenant: str) -> None:
    request = lookup(PASSWORD, tenant=tenant, lease=True, fill_wait=Duration(seconds=40))
    first = await served.call(request)
    second = asyncio.create_task(served.call(request))
    await served.until(lambda: served.value("lookups.waiting") == 1)

    released = await served.call(wire.ReleaseLeaseRequest(namespace="support", lease_id=first.lease_id))

    assert released.released
    assert (told(await second)[0], bool((await second).lease_id)) == ("OUTCOME_MISS", True)
    again = await served.call(wire.ReleaseLeaseRequest(namespace="support", lease_id=first.lease_id))
    assert not again.released


async def test_who_does_not_wait_is_told_that_it_is_being_fetched(served: Served, tenant: str) -> None:
    await served.call(lookup(PASSWORD, tenant=tenant, lease=True))

    response = await served.call(lookup(PASSWORD, tenant=tenant, lease=True))

    assert (told(response), response.lease_id) == (("OUTCOME_MISS", "REASON_FILLING", "lease"), "")


async def test_a_caller_that_hangs_up_waits_no_more(served: Served, tenant: str) -> None:
    await served.call(lookup(PASSWORD, tenant=tenant, lease=True))
    request = lookup(PASSWORD, tenant=tenant, lease=True, fill_wait=Duration(seconds=60))
    waiting = asyncio.create_task(served.call(request))
    await served.until(lambda: served.value("lookups.waiting") == 1)

    waiting.cancel()

    await served.until(lambda: served.value("lookups.waiting") == 0)


async def test_what_was_reported_wrong_is_not_served_nor_kept_again(served: Served, tenant: str) -> None:
    await served.call(store(PASSWORD, "Wrong.", tenant=tenant))
    hit = await served.call(lookup(NEAR, tenant=tenant))

    judged = await served.call(
        wire.FeedbackRequest(namespace="support", lookup_id=hit.lookup_id, judgement=wire.JUDGEMENT_WRONG)
    )
    after = [told(await served.call(lookup(prompt, tenant=tenant)))[0] for prompt in (PASSWORD, NEAR)]
    again = await served.call(store(PASSWORD, "Wrong.", tenant=tenant))
    other = await served.call(store(PASSWORD, "Right.", tenant=tenant))

    assert (judged.quarantined, judged.learned) == (True, True)
    assert after == ["OUTCOME_MISS"] * 2
    assert (wire.Refusal.Name(again.refusal), other.stored) == ("REFUSAL_QUARANTINED", True)
    assert told(await served.call(lookup(PASSWORD, tenant=tenant)))[0] == "OUTCOME_EXACT"


async def test_a_lookup_is_learned_from_once(served: Served, tenant: str) -> None:
    await served.call(store(PASSWORD, tenant=tenant))
    hit = await served.call(lookup(NEAR, tenant=tenant))
    judgement = wire.FeedbackRequest(namespace="support", lookup_id=hit.lookup_id, judgement=wire.JUDGEMENT_RIGHT)

    learned = [(await served.call(judgement)).learned for _ in range(2)]

    assert learned == [True, False]


async def test_entries_go_by_id_tag_scope_and_tenant(served: Served, tenant: str) -> None:
    stored = [
        await served.call(store(f"{PASSWORD} {number}", tenant=tenant, tags=["even"] if number % 2 == 0 else []))
        for number in range(5)
    ]
    scope = wire.Scope(tenant=tenant)

    async def forget(**target: Any) -> int:
        response = await served.call(wire.InvalidateRequest(namespace="support", **target))
        return int(response.entries)

    assert await forget(tag="even", dry_run=True, tenant=tenant) == 5  # the last of a oneof counts
    assert await forget(entry_id=stored[0].entry_id) == 1
    assert await forget(entry_id=stored[0].entry_id) == 0
    assert await forget(scope=scope, dry_run=True) == 4
    assert await forget(tenant=tenant + "2") == 0
    assert await forget(tenant=tenant) == 4
    assert await forget(scope=scope) == 0


async def test_by_tag_goes_what_has_it(served: Served, tenant: str) -> None:
    for number in range(4):
        tags = [f"t{tenant}"] if number % 2 else []
        await served.call(store(f"{PASSWORD} {number}", tenant=tenant, tags=tags))

    gone = await served.call(wire.InvalidateRequest(namespace="support", tag=f"t{tenant}"))

    assert gone.entries == 2
    assert told(await served.call(lookup(f"{PASSWORD} 0", tenant=tenant)))[0] == "OUTCOME_EXACT"


async def test_an_emptied_namespace_takes_nothing_that_was_asked_for_before(served: Served, tenant: str) -> None:
    before = await served.call(lookup(PASSWORD, "sales", tenant=tenant, lease=True))
    await served.call(store("What is a weir and what is it for?", namespace="sales", tenant=tenant))

    emptied = await served.call(wire.InvalidateRequest(namespace="sales", everything=wire.Everything()))
    late = await served.call(
        store(PASSWORD, namespace="sales", tenant=tenant, lease_id=before.lease_id, lookup_id=before.lookup_id)
    )
    fresh = await served.call(store(NEAR, namespace="sales", tenant=tenant))

    assert (emptied.entries >= 1, emptied.epoch > 0) == (True, True)
    assert wire.Refusal.Name(late.refusal) == "REFUSAL_INVALIDATED"
    assert fresh.stored
    found = await served.call(lookup("What is a weir and what is it for?", "sales", tenant=tenant))
    assert told(found)[0] == "OUTCOME_MISS"


async def test_a_namespace_tells_how_it_does(served: Served, tenant: str) -> None:
    await served.call(store(PASSWORD, tenant=tenant, completion={"usage": wire.Usage(output_tokens=7)}))
    before = (await served.call(wire.DescribeRequest(namespace="support"))).namespaces[0]
    for prompt in (PASSWORD, NEAR, "What is a weir and what is it for?"):
        await served.call(lookup(prompt, tenant=tenant))

    (state,) = (await served.call(wire.DescribeRequest(namespace="support"))).namespaces

    assert state.exact_hits - before.exact_hits == 1
    assert state.semantic_hits - before.semantic_hits == 1
    assert state.misses - before.misses == 1
    assert state.saved.output_tokens - before.saved.output_tokens == 14
    assert state.hit_rate.low < state.hit_rate.value < state.hit_rate.high
    assert (state.threshold, state.is_gate_open, state.embedding_model.startswith("all-minilm-l6-v2-int8-")) == (
        *(0.9, True, True),
    )


async def test_a_shadow_setting_is_described_beside_the_one_that_serves(served: Served, tenant: str) -> None:
    await served.call(store(PASSWORD, "By mail.", "shadowed", tenant))
    missed = await served.call(lookup(NEAR, "shadowed", tenant))
    await served.call(
        wire.FeedbackRequest(namespace="shadowed", lookup_id=missed.lookup_id, judgement=wire.JUDGEMENT_RIGHT)
    )

    (state,) = (await served.call(wire.DescribeRequest(namespace="shadowed"))).namespaces

    assert (told(missed)[0], state.threshold, round(state.shadow.threshold, 3)) == ("OUTCOME_MISS", 1.0, 0.9)
    assert (state.shadow.is_gate_open, state.hit_rate.value, state.shadow.hit_rate.value) == (True, 0.0, 1.0)
    assert (state.shadow.error_rate.value, state.shadow.error_rate.count, state.labels) == (0.0, 1, 1)


async def test_health_and_reflection_know_the_service(served: Served) -> None:
    checked = await health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest(service=NAME))
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAME)
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    answers = [answer async for answer in stub.ServerReflectionInfo(iter([asked]))]

    assert checked.status == health_pb2.HealthCheckResponse.SERVING
    assert answers[0].file_descriptor_response.file_descriptor_proto
