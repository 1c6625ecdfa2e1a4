"""The client, the wrapper of OpenAI's library and the commands, over a real service."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from openai import AsyncOpenAI

from semcache.client import CacheClient, CacheError, Completion, Forgotten, cached
from tests.fakes.semcache_service import NAMESPACES, Served, serving, settings
from weir.__main__ import main
from weir.demo.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "How do I reset my password?"
NEAR = "How can I reset my password?"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(settings(tmp_path_factory.mktemp("semcache"), NAMESPACES)) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="module")
async def cache(served: Served) -> AsyncIterator[CacheClient]:
    async with CacheClient(served.target, namespace="support", timeout_seconds=30, tenant=uuid.uuid4().hex) as cache:
        yield cache


async def test_what_is_stored_is_found(cache: CacheClient) -> None:
    missed = await cache.lookup(PASSWORD, model="m")
    stored = await cache.store(PASSWORD, Completion("By mail.", output_tokens=3), model="m", tags=["faq"])
    found = await cache.lookup(NEAR, model="m")

    assert (missed.outcome, missed.reason, missed.is_hit) == ("miss", "not_found", False)
    assert (stored.is_stored, found.outcome, found.entry_id) == (True, "semantic", stored.entry_id)
    assert found.completion == Completion("By mail.", output_tokens=3)
    assert (await cache.lookup(PASSWORD)).outcome == "miss"


async def test_a_fetch_is_shared_and_stored_by_whoever_makes_it(cache: CacheClient) -> None:
    fetches = 0

    async def fetch() -> str:
        nonlocal fetches
        fetches += 1
        return "By mail."

    answers = await asyncio.gather(*(cache.answer(PASSWORD, fetch) for _ in range(8)))

    assert fetches == 1
    assert {each if isinstance(each, str) else each.text for each in answers} == {"By mail."}


async def test_a_fetch_that_fails_leaves_the_next_one_free(cache: CacheClient) -> None:
    async def fail() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await cache.answer(PASSWORD, fail)

    async with cache.fill(PASSWORD) as fill:
        assert fill.found.lease_id


async def test_an_answer_that_the_cache_does_not_take_leaves_the_next_one_free(cache: CacheClient) -> None:
    async with cache.fill(PASSWORD) as fill:
        with pytest.raises(CacheError, match="ttl"):
            await fill.store("By mail.", ttl_seconds=-1)

    async with cache.fill(PASSWORD) as fill:
        assert fill.found.lease_id


async def test_feedback_and_forgetting(cache: CacheClient) -> None:
    await cache.store(PASSWORD, "Wrong.", tags=["t"])
    assert await cache.feedback(await cache.lookup(NEAR), is_right=False)
    assert not (await cache.lookup(PASSWORD)).is_hit

    await cache.store(PASSWORD, "Right.", tags=["t"])

    assert (await cache.invalidate(tag="t", is_dry_run=True)).entries >= 1
    with pytest.raises(CacheError, match="exactly one"):
        await cache.invalidate()


async def test_bad_input_is_the_callers_and_a_cache_that_is_away_is_nobodys(cache: CacheClient) -> None:
    async with CacheClient("127.0.0.1:1", namespace="support", tenant="a") as nobody:
        found, stored = await nobody.lookup(PASSWORD), await nobody.store(PASSWORD, "x")
        answered = await nobody.answer(PASSWORD, lambda: asyncio.sleep(0, "fetched"))

    with pytest.raises(CacheError, match=r"INVALID_ARGUMENT: prompt\.text: is empty"):
        await cache.lookup(" ")
    assert (found.outcome, found.reason) == ("bypass", "unreachable")
    assert (stored.is_stored, stored.refusal) == (False, "unreachable")
    assert answered == "fetched"


async def test_what_needs_a_right_is_refused_in_the_caches_words(served: Served) -> None:
    async with CacheClient(served.target, namespace="guarded", tenant="acme") as nobody:
        with pytest.raises(CacheError, match="UNAUTHENTICATED: guarded"):
            await nobody.invalidate(everything=True)
        with pytest.raises(CacheError, match="UNAUTHENTICATED: guarded"):
            _ = [part async for part in nobody.export()]


async def test_everything_may_be_forgotten(served: Served) -> None:
    async with CacheClient(served.target, namespace="sales", timeout_seconds=30, tenant="own") as cache:
        await cache.store(PASSWORD, "By mail.")
        forgotten = await cache.invalidate(everything=True)

        assert forgotten.entries >= 1
        assert not (await cache.lookup(PASSWORD)).is_hit


async def test_a_scope_may_be_forgotten_by_its_name_and_what_is_gone_is_judged_by_nobody(cache: CacheClient) -> None:
    await cache.store(PASSWORD, "By mail.", model="one")
    await cache.store(PASSWORD, "By phone.", model="other")
    found = await cache.lookup(PASSWORD, model="one")

    forgotten = await cache.invalidate(scope_id=found.scope_id)

    assert (forgotten, (await cache.lookup(PASSWORD, model="other")).is_hit) == (Forgotten(1), True)
    assert not await cache.feedback(found, is_right=False)


async def test_parts_of_a_message_are_its_turn_where_they_are_texts_and_must_be_equal_where_not(
    cache: CacheClient,
) -> None:
    def message(image: str) -> list[dict[str, Any]]:
        image_part = {"type": "image_url", "image_url": {"url": image}}
        texts = [{"type": "text", "text": text} for text in ("What is", "in this picture?")]
        return [{"role": "user", "content": [texts[0], image_part, texts[1]]}]

    await cache.store(message("a.png"), "A weir.")

    same, other = [await cache.lookup(message(image)) for image in ("a.png", "b.png")]
    (elsewhere,) = message("a.png")
    elsewhere["content"] = sorted(elsewhere["content"], key=lambda part: part["type"])

    assert (same.outcome, other.is_hit) == ("exact", False)
    assert not (await cache.lookup([elsewhere])).is_hit


async def test_a_client_of_openais_library_asks_the_model_once(cache: CacheClient) -> None:
    upstream = Upstream()
    await upstream.start()
    async with AsyncOpenAI(base_url=f"http://{upstream.address}/v1", api_key="x") as plain:
        client = cached(plain, cache, app="web")

        async def ask(question: str, **options: object) -> tuple[str, int]:
            messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": question}]
            answer = await client.chat.completions.create(model="small", messages=messages, **options)
            return answer.choices[0].message.content.split()[0], answer.usage.total_tokens

        answers = [await ask(PASSWORD), await ask(PASSWORD), await ask(NEAR)]
        asked_once = upstream.chats_count
        await ask(PASSWORD, temperature=0.5)
    await upstream.stop()

    assert answers == [answers[0]] * 3
    assert asked_once == 1
    assert upstream.chats_count == 2


def mode(file: str) -> int:
    return Path(file).stat().st_mode & 0o777


def invoke(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=text)


async def test_the_commands(served: Served, tmp_path: Path) -> None:
    async def weir(*arguments: str, text: str | None = None) -> Result:
        named = ("--target", served.target, "--namespace", "sales")
        return await asyncio.to_thread(invoke, *arguments, *named, text=text)

    file = str(tmp_path / "sales.entries")
    missed = await weir("lookup", PASSWORD, "--tenant", "acme")
    stored = await weir("store", PASSWORD, "-", "--tenant", "acme", "--tag", "faq", text="By mail.")
    refused = await weir("store", "continue", "x", "--tenant", "acme")
    found = await weir("lookup", NEAR, "--tenant", "acme", "--json")
    bad = await weir("lookup", "", "--tenant", "acme")
    stats = await weir("cache", "stats", "--json")
    table = await weir("cache", "stats")
    exported = await weir("cache", "export", file)
    dry = await weir("cache", "invalidate", "--tag", "faq", "--dry-run")
    forgotten = await weir("cache", "invalidate", "--tenant", "acme")
    imported = await weir("cache", "import", file)
    migration = await weir("cache", "migration", "--json")
    again = await weir("lookup", PASSWORD, "--tenant", "acme")

    assert [each.exit_code for each in (missed, stored, refused, found, bad)] == [1, 0, 1, 0, 2]
    assert "miss · not_found · by search" in missed.output
    assert "not kept: deictic" in refused.output
    assert "INVALID_ARGUMENT: prompt.text: is empty" in bad.output
    assert json.loads(found.output)["outcome"] == "semantic"
    assert [state["namespace"] for state in json.loads(stats.output)] == ["sales"]
    assert "sales" in table.output
    assert (exported.output, dry.output) == ("1 entries exported\n", "1 entries would be forgotten\n")
    assert forgotten.output == "1 entries are forgotten\nno text of them is left in the files of the store\n"
    assert imported.output == "1 entries imported, 0 had expired, 0 were embedded anew\n"
    assert (again.exit_code, again.output.splitlines()[-1]) == (0, "By mail.")
    assert json.loads(migration.output) == {}
    assert mode(file) == 0o600


async def test_what_is_no_file_is_written_to_and_not_replaced(served: Served, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = ["cache", "export", str(pipe), "--target", served.target, "--namespace", "small"]

    written, exported = await asyncio.gather(asyncio.to_thread(pipe.read_bytes), asyncio.to_thread(invoke, *command))

    assert (exported.exit_code, exported.output, written != b"") == (0, "0 entries exported\n", True)
    assert os.listdir(tmp_path) == ["pipe"]  # noqa: PTH208 - an async test


async def test_an_export_that_fails_leaves_the_one_before(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "sales.entries"
    file.write_text("the one before")
    file.chmod(0o644)

    async def export(namespace: str) -> Result:
        return await asyncio.to_thread(
            invoke, "cache", "export", str(file), "--target", served.target, "--namespace", namespace
        )

    failed, kept = await export("nowhere"), file.read_text()
    done = await export("sales")

    assert (failed.exit_code, kept, done.exit_code) == (2, "the one before", 0)
    assert (list(await asyncio.to_thread(tmp_path.iterdir)), mode(str(file))) == ([file], 0o600)


async def test_statistics_are_of_all_or_of_the_namespace_that_is_named(served: Served) -> None:
    async def names(*options: str) -> set[str]:
        result = await asyncio.to_thread(invoke, "cache", "stats", "--json", "--target", served.target, *options)
        return {state["namespace"] for state in json.loads(result.output)}

    assert await names("--namespace", "sales") == {"sales"}
    assert {"sales", "support"} <= await names()
    assert {"sales", "support"} <= await names("--namespace", "sales", "--all")


@pytest.mark.parametrize("command", [["lookup", PASSWORD], ["store", PASSWORD, "By mail."]], ids=lambda words: words[0])
async def test_what_is_no_pair_and_a_cache_that_is_away_are_told(command: list[str]) -> None:
    away = [*command, "--target", "127.0.0.1:1"]

    pair, silent = [await asyncio.to_thread(invoke, *away, *more) for more in (("--scope", "app"), ())]

    assert (pair.exit_code, "'app' is not NAME=VALUE" in pair.output) == (2, True)
    assert (silent.exit_code, "the cache did not answer" in silent.output) == (2, True)


async def test_a_file_that_is_no_export_is_told(served: Served, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x05abc")

    result = await asyncio.to_thread(
        invoke, "cache", "import", str(tmp_path / "x"), "--target", served.target, "--namespace", "sales"
    )

    assert result.exit_code == 2
