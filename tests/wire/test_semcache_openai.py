"""OpenAI's library over a cache: answers and streams, with an event loop and without."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from openai import APIError, AsyncOpenAI, OpenAI

from semcache.client import BlockingCacheClient, CacheClient, CacheError, cached, found_of
from tests.fakes.semcache_service import NAMESPACES, TENANT_TOKEN, Served, serving, settings
from weir.demo.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = {"model": "small", "messages": [{"role": "user", "content": "How do I reset my password?"}], "max_tokens": 6}
NEAR = {**ASKED, "messages": [{"role": "user", "content": "How can I reset my password?"}]}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
SAID = "a weir raises the river and"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(settings(tmp_path_factory.mktemp("semcache"), NAMESPACES)) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def client(served: Served, upstream: Upstream) -> AsyncIterator[Any]:
    async with (
        CacheClient(served.target, namespace="support", timeout_seconds=30, tenant=uuid.uuid4().hex) as cache,
        AsyncOpenAI(base_url=f"http://{upstream.address}/v1", api_key="x", max_retries=0) as plain,
    ):
        yield cached(plain, cache)


@pytest.fixture
def blocking(served: Served, upstream: Upstream) -> Iterator[Any]:
    cache = BlockingCacheClient(served.target, namespace="support", timeout_seconds=30, tenant=uuid.uuid4().hex)
    with cache, OpenAI(base_url=f"http://{upstream.address}/v1", api_key="x", max_retries=0) as plain:
        yield cached(plain, cache)


def heard(chunks: list[Any]) -> tuple[str, list[str], list[int]]:
    """Return what was said, why it ended, and what it cost."""
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices).strip()
    reasons = [choice.finish_reason for choice in choices if choice.finish_reason]
    return text, reasons, [chunk.usage.total_tokens for chunk in chunks if chunk.usage]


async def read(client: Any, **request: Any) -> tuple[str, list[str], list[int]]:
    return heard([chunk async for chunk in await client.chat.completions.create(**request)])


async def test_a_stream_is_kept_once_it_has_ended_and_serves_streams_and_answers(
    client: Any, upstream: Upstream
) -> None:
    first = await read(client, **ASKED, **WITH_USAGE)
    again = await read(client, **ASKED, **WITH_USAGE)
    near = await read(client, **NEAR, stream=True)
    whole = await client.chat.completions.create(**ASKED)

    assert first == again == (SAID, ["stop"], [12])
    assert near == (SAID, ["stop"], [])
    assert (whole.choices[0].message.content.strip(), whole.usage.total_tokens) == (SAID, 12)
    assert upstream.chats_count == 1


async def test_a_kept_answer_is_replayed_in_the_chunks_of_the_library(client: Any, upstream: Upstream) -> None:
    whole = await client.chat.completions.create(**ASKED)

    async with await client.chat.completions.create(**ASKED, stream=True) as stream:
        chunks = [chunk async for chunk in stream]

    assert heard(chunks) == (SAID, ["stop"], [])
    assert {type(chunk).__name__ for chunk in chunks} == {"ChatCompletionChunk"}
    assert {chunk.id for chunk in chunks} == {whole.id}
    assert upstream.chats_count == 1


async def test_a_stream_that_its_reader_leaves_is_not_kept_and_the_next_may_fetch(
    client: Any, upstream: Upstream
) -> None:
    async with await client.chat.completions.create(**ASKED, stream=True) as stream:
        await anext(stream)
    unread = await client.chat.completions.create(**ASKED, stream=True)
    await unread.close()

    assert await read(client, **ASKED, stream=True) == (SAID, ["stop"], [12])
    assert upstream.chats_count == 3


async def test_a_stream_that_breaks_is_not_kept(served: Served) -> None:
    breaking, after = Upstream(pause_seconds=0.05), Upstream()
    await breaking.start()
    await after.start()
    async with CacheClient(served.target, namespace="support", timeout_seconds=30, tenant="broken") as cache:
        async with AsyncOpenAI(base_url=f"http://{breaking.address}/v1", api_key="x", max_retries=0) as plain:
            stream = await cached(plain, cache).chat.completions.create(**{**ASKED, "max_tokens": 400}, stream=True)
            await anext(stream)
            stopping = asyncio.create_task(breaking.stop())
            with pytest.raises((APIError, OSError)):
                async for _ in stream:
                    pass
            await stopping
        async with AsyncOpenAI(base_url=f"http://{after.address}/v1", api_key="x", max_retries=0) as plain:
            again = await read(cached(plain, cache), **{**ASKED, "max_tokens": 400}, stream=True)
    await after.stop()

    assert (after.chats_count, again[1]) == (1, ["stop"])


async def test_a_chat_goes_on_with_the_messages_of_the_library(client: Any, upstream: Upstream) -> None:
    async def go_on() -> tuple[str, ...]:
        first = await client.chat.completions.create(**ASKED)
        messages = [*ASKED["messages"], first.choices[0].message, {"role": "user", "content": "And by telephone?"}]
        again = await client.chat.completions.create(**{**ASKED, "messages": messages})
        return tuple(found.outcome for found in map(found_of, (first, again)) if found is not None)

    assert [await go_on(), await go_on()] == [("miss", "miss"), ("exact", "exact")]
    assert upstream.chats_count == 2


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "Tell me about weirs."}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": "half a pair \ud83d"}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "x", "y": object()}]}],
    ],
    ids=["no user", "no words", "no text", "no JSON"],
)
async def test_what_the_cache_does_not_take_is_asked_of_the_model(
    served: Served, caplog: pytest.LogCaptureFixture, messages: list[Any]
) -> None:
    async with CacheClient(served.target, namespace="support", tenant="t") as cache:
        answer = await cached(Echo(), cache).chat.completions.create(model="small", messages=messages)

    assert (answer, found_of(answer)) == (messages, None)
    assert "cache" in caplog.text
    assert "weirs" not in caplog.text


async def test_who_may_not_ask_the_cache_or_not_store_has_the_models_answer(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = Upstream()
    await upstream.start()
    async with AsyncOpenAI(base_url=f"http://{upstream.address}/v1", api_key="x", max_retries=0) as plain:
        for namespace, token in (("nowhere", ""), ("guarded", ""), ("guarded", TENANT_TOKEN)):
            async with CacheClient(served.target, namespace=namespace, token=token, tenant="other") as cache:
                client = cached(plain, cache)
                assert (await client.chat.completions.create(**ASKED)).choices[0].message.content.strip() == SAID
                assert await read(client, **ASKED, stream=True) == (SAID, ["stop"], [12])
    await upstream.stop()

    assert {"INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED"} <= set(caplog.text.replace(":", " ").split())
    assert "password" not in caplog.text


@pytest.mark.parametrize("namespace", ["guarded", "nowhere"])
async def test_without_a_loop_too_what_the_cache_does_not_take_is_asked_of_the_model(
    served: Served, upstream: Upstream, namespace: str
) -> None:
    def ask() -> list[str]:
        cache = BlockingCacheClient(served.target, namespace=namespace, tenant="other")
        with cache, OpenAI(base_url=f"http://{upstream.address}/v1", api_key="x", max_retries=0) as plain:
            create = cached(plain, cache).chat.completions.create
            whole = create(**ASKED).choices[0].message.content.strip()
            return [whole, heard(list(create(**ASKED, stream=True)))[0]]

    assert await asyncio.to_thread(ask) == [SAID, SAID]


async def test_an_answer_and_a_stream_know_their_lookup_for_feedback(served: Served, upstream: Upstream) -> None:
    async with (
        CacheClient(served.target, namespace="sales", timeout_seconds=30, tenant=uuid.uuid4().hex) as cache,
        AsyncOpenAI(base_url=f"http://{upstream.address}/v1", api_key="x", max_retries=0) as plain,
    ):
        create = cached(plain, cache).chat.completions.create
        fetched, near = await create(**ASKED), await create(**NEAR)
        stream = await create(**NEAR, stream=True)
        founds = [found_of(each) for each in (fetched, near, stream)]
        assert founds[1] is not None
        learned = await cache.feedback(founds[1], is_right=False)
        after = await create(**NEAR)

    assert [found.outcome for found in founds if found] == ["miss", "semantic", "semantic"]
    assert (learned, upstream.chats_count, "found" in after.model_dump_json()) == (True, 2, False)


class Echo:
    """A client whose completions are the messages that it was given."""

    @property
    def chat(self) -> Any:
        return self

    completions = chat

    async def create(self, **request: Any) -> Any:
        return request["messages"]


async def test_several_choices_are_the_upstreams(client: Any, upstream: Upstream) -> None:
    for _ in range(2):
        await client.chat.completions.create(**ASKED, n=2)

    assert upstream.chats_count == 2


async def test_without_a_loop_answers_and_streams_are_kept_too(blocking: Any, upstream: Upstream) -> None:
    def ask() -> list[Any]:
        create = blocking.chat.completions.create
        first = heard(list(create(**ASKED, **WITH_USAGE)))
        with create(**NEAR, stream=True) as stream:
            again = heard(list(stream))
        whole = create(**ASKED).choices[0].message.content.strip()
        other = create(**ASKED, temperature=0.5).choices[0].message.content
        return [first, again, whole, other, create(**ASKED, temperature=0.5).choices[0].message.content]

    first, again, whole, *others = await asyncio.to_thread(ask)

    assert (first, again, whole) == ((SAID, ["stop"], [12]), (SAID, ["stop"], []), SAID)
    assert (upstream.chats_count, others[0]) == (2, others[1])


async def test_without_a_loop_a_stream_that_is_left_is_not_kept(blocking: Any, upstream: Upstream) -> None:
    def ask() -> list[Any]:
        create = blocking.chat.completions.create
        with create(**ASKED, stream=True) as stream:
            next(stream)
        create(**ASKED, stream=True).close()
        create(**ASKED, n=2)
        return list(create(**ASKED, stream=True))

    assert heard(await asyncio.to_thread(ask)) == (SAID, ["stop"], [12])
    assert upstream.chats_count == 4


async def test_a_blocking_client_shares_a_fetch_between_threads(served: Served) -> None:
    fetches: list[int] = []

    def fetch() -> str:
        fetches.append(1)
        return "By mail."

    with BlockingCacheClient(served.target, namespace="support", timeout_seconds=30, tenant="threads") as cache:
        answers = await asyncio.gather(*(asyncio.to_thread(cache.answer, "How do I pay?", fetch) for _ in range(8)))
        found = await asyncio.to_thread(cache.lookup, "How do I pay?")
        learned = await asyncio.to_thread(cache.feedback, found, is_right=True)
        forgotten = await asyncio.to_thread(cache.invalidate, tenant="threads")
        stored = await asyncio.to_thread(cache.store, "How do I pay?", "By card.")

    assert (len(fetches), {each if isinstance(each, str) else each.text for each in answers}) == (1, {"By mail."})
    assert (found.outcome, learned, forgotten.entries, stored.is_stored) == ("exact", False, 1, True)
    with pytest.raises(CacheError, match="closed"):
        cache.lookup("How do I pay?")
    cache.close()


async def test_what_the_cache_may_not_share_is_asked_of_the_model_each_time(served: Served, upstream: Upstream) -> None:
    async with (
        CacheClient(served.target, namespace="support", timeout_seconds=30) as cache,
        AsyncOpenAI(base_url=f"http://{upstream.address}/v1", api_key="x", max_retries=0) as plain,
    ):
        create = cached(plain, cache).chat.completions.create
        answers = [await create(**ASKED) for _ in range(2)]
        found = found_of(answers[1])

    assert found is not None
    assert (found.outcome, found.missing, upstream.chats_count) == ("bypass", "tenant", 2)


async def test_without_a_loop_too_what_may_not_be_shared_is_fetched_each_time(
    served: Served, upstream: Upstream
) -> None:
    def ask() -> list[Any]:
        cache = BlockingCacheClient(served.target, namespace="support", timeout_seconds=30)
        with cache, OpenAI(base_url=f"http://{upstream.address}/v1", api_key="x", max_retries=0) as plain:
            create = cached(plain, cache).chat.completions.create
            whole = [create(**ASKED).choices[0].message.content.strip() for _ in range(2)]
            return [*whole, *(cache.answer("How do I pay?", lambda: "By card.") for _ in range(2))]

    assert await asyncio.to_thread(ask) == [SAID, SAID, "By card.", "By card."]
    assert upstream.chats_count == 2
