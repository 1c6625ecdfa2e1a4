"""Bad input to the cache: each is INVALID_ARGUMENT and names its field, and nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.app import NAME
from tests.fakes.semcache_service import NAMESPACES, Served, lookup, serving, settings, store

pytestmark = pytest.mark.asyncio(loop_scope="module")

ID = "1d4274af-2820-57a1-9b9a-a4ba4ce1493c"
DEEP = "[" * 200 + "]" * 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(settings(tmp_path_factory.mktemp("semcache"), NAMESPACES)) as served:
        yield served


def chat(*messages: wire.Message) -> wire.Prompt:
    return wire.Prompt(chat=wire.Chat(messages=messages))


def ask(prompt: wire.Prompt) -> wire.LookupRequest:
    return wire.LookupRequest(namespace="support", scope=wire.Scope(tenant="acme"), prompt=prompt)


def invalidate(**fields: Any) -> wire.InvalidateRequest:
    return wire.InvalidateRequest(namespace="support", **fields)


def feedback(**fields: Any) -> wire.FeedbackRequest:
    return wire.FeedbackRequest(**{"namespace": "support", "judgement": wire.JUDGEMENT_RIGHT, **fields})


USER = wire.Message(role="user", content="What is a weir?")

BAD: dict[str, tuple[Any, str]] = {
    "no namespace": (lookup("x", namespace=""), "namespace: is missing"),
    "an unknown namespace": (lookup("x", namespace="nope"), "namespace: no namespace of this name is configured"),
    "no prompt": (ask(wire.Prompt()), "prompt: is missing"),
    "an empty prompt": (lookup(" \n\u200b"), "prompt.text: is empty"),
    "an empty chat": (ask(chat()), "prompt.chat.messages: none is of role `user`"),
    "a chat without a user": (
        *(ask(chat(wire.Message(role="system", content="x"))), "prompt.chat.messages: none is of role `user`"),
    ),
    "a turn without a role": (ask(chat(wire.Message(content="x"), USER)), "prompt.chat.messages[0].role: is missing"),
    "an empty last turn": (*(ask(chat(USER, wire.Message(role="user"))), "prompt.chat.messages[1].content: is empty"),),
    "attachments that are no JSON": (
        ask(chat(wire.Message(role="user", content="x", attachments="{"))),
        "prompt.chat.messages[0].attachments: not JSON: Expecting property name",
    ),
    "tools that are no JSON": (lookup("x", scope={"tools": "{a}"}), "scope.tools: not JSON: Expecting"),
    "a number that is none": (
        lookup("x", scope={"sampling": '{"t": NaN}'}),
        "scope.sampling: not JSON: NaN is no JSON",
    ),
    "two members of one name": (
        lookup("x", scope={"tools": '[{"a": 1, "a": 2}]'}),
        "scope.tools: not JSON: an object has two members of one name",
    ),
    "half a surrogate pair": (lookup("x", scope={"tools": r'"\ud800"'}), "scope.tools: not JSON: text has half"),
    "JSON that is too deep": (
        lookup("x", scope={"response_format": DEEP}),
        "scope.response_format: not JSON: JSON is nested",
    ),
    "JSON that is far too deep": (lookup("x", scope={"tools": "[" * 100_000}), "scope.tools: not JSON"),
    "confidence above 1": (lookup("x", min_confidence=1.1), "min_confidence: not between 0 and 1: 1.1"),
    "confidence below 0": (lookup("x", min_confidence=-0.1), "min_confidence: not between 0 and 1: -0.1"),
    "confidence that is no number": (
        lookup("x", min_confidence=float("nan")),
        "min_confidence: not between 0 and 1: nan",
    ),
    "a negative age": (lookup("x", max_age=Duration(seconds=-1)), "max_age: is negative"),
    "a negative deadline": (lookup("x", deadline=Duration(nanos=-1)), "deadline: is negative"),
    "a negative wait": (lookup("x", fill_wait=Duration(seconds=-5)), "fill_wait: is negative"),
    "no completion": (
        wire.StoreRequest(namespace="support", scope=wire.Scope(tenant="acme"), prompt=wire.Prompt(text="x")),
        "completion: is missing",
    ),
    "a negative life": (store("x", ttl=Duration(seconds=-1)), "ttl: is negative"),
    "a temperature that is none": (store("x", temperature=float("inf")), "temperature: not a number from 0 on: inf"),
    "a negative temperature": (store("x", temperature=-0.1), "temperature: not a number from 0 on: -0.1"),
    "an empty tag": (store("x", tags=["a", ""]), "tags: one is empty"),
    "tool calls that are no list": (
        *(store("x", completion={"tool_calls": "{}"}), "completion.tool_calls: not a JSON array"),
    ),
    "a lease of nobody": (store("x", lease_id="abc"), "lease_id: not a lease that a lookup gave"),
    "a lookup of nobody": (store("x", lookup_id="!!"), "lookup_id: not a name that a lookup gave"),
    "no lease": (wire.ReleaseLeaseRequest(namespace="support"), "lease_id: is missing"),
    "no target": (invalidate(), "target: is missing"),
    "an empty tag to forget": (invalidate(tag=""), "tag: is empty"),
    "an empty tenant to forget": (invalidate(tenant=""), "tenant: is empty"),
    "an id that is none": (invalidate(entry_id="1"), "entry_id: not the id of an entry"),
    "an id in capitals": (invalidate(entry_id=ID.upper()), "entry_id: not the id of an entry"),
    "a scope that is none": (invalidate(scope_id="xyz"), "scope_id: not the fingerprint of a scope"),
    "a scope with bad JSON": (invalidate(scope=wire.Scope(tools="{")), "scope.tools: not JSON"),
    "no judgement": (feedback(entry_id=ID, judgement=0), "judgement: is missing"),
    "a judgement of another kind": (feedback(entry_id=ID, judgement=7), "judgement: neither RIGHT nor WRONG"),
    "a judgement of nothing": (feedback(), "entry_id: is missing, and lookup_id names none"),
    "a judgement by a foreign name": (
        feedback(lookup_id="abc"),
        "lookup_id: not a name that a lookup of this namespace",
    ),
}


@pytest.mark.parametrize(("request_", "words"), BAD.values(), ids=BAD.keys())
async def test_bad_input_is_named(served: Served, request_: Any, words: str) -> None:
    code, details = await served.status(request_)

    assert (code, details[: len(words)]) == ("INVALID_ARGUMENT", words)


async def send(served: Served, method: str, message: bytes) -> tuple[str, str]:
    call = served.channel.unary_unary(f"/{NAME}/{method}")
    try:
        await call(message, timeout=50)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


METHODS = ["Lookup", "Store", "ReleaseLease", "Invalidate", "Feedback", "RollBack", "Describe"]


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_message_are_told(served: Served, method: str) -> None:
    assert await send(served, method, b"\xff\xff") == (
        *("INVALID_ARGUMENT", f"not a weir.semcache.v1.{method}Request"),
    )


@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(METHODS), st.binary(max_size=200))
async def test_no_bytes_break_it(served: Served, method: str, message: bytes) -> None:
    code, _ = await send(served, method, message)

    assert code in {"OK", "INVALID_ARGUMENT"}


texts = st.text(max_size=40)
messages = st.builds(wire.Message, role=st.sampled_from(["user", "assistant", "system", "tool", ""]), content=texts)
prompts = st.one_of(st.builds(wire.Prompt, text=texts), st.lists(messages, max_size=4).map(lambda all_: chat(*all_)))


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts, st.builds(wire.Scope, tenant=texts, tools=texts, extra=st.dictionaries(texts, texts, max_size=2)))
async def test_whatever_is_asked_is_answered_or_told(served: Served, prompt: wire.Prompt, scope: wire.Scope) -> None:
    lookup_ = wire.LookupRequest(namespace="support", scope=scope, prompt=prompt)
    offer = wire.StoreRequest(namespace="support", scope=scope, prompt=prompt, completion=wire.Completion(text="x"))

    statuses = {(await served.status(request))[0] for request in (lookup_, offer)}

    assert len(statuses) == 1
    assert statuses <= {"OK", "INVALID_ARGUMENT"}
