"""Exports and imports: what leaves one deployment is what another one gets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.app import NAME
from semcache.client import CacheClient, CacheError
from semcache.settings import EmbedderSettings
from tests.fakes.models import model_folder
from tests.fakes.semcache_service import NAMESPACES, Served, lookup, serving, settings, store

QUESTIONS = ["How do I reset my password?", "What is a weir and what is it for?", "Which port does Redis listen on?"]


async def filled(served: Served, count: int = 3) -> None:
    for question in QUESTIONS[:count]:
        answer = store(question, f"About: {question}", tags=["t"], source={"request": "r1"})
        answer.completion.usage.output_tokens = 5
        assert (await served.call(answer)).stored


def client(served: Served) -> CacheClient:
    return CacheClient(served.target, namespace="support")


async def parts_of(served: Served, tenant: str | None = None) -> list[wire.ExportResponse]:
    async with client(served) as cache:
        return [part async for part in cache.export(tenant)]


async def taken(
    served: Served, parts: Sequence[wire.ExportResponse], namespace: str = "support"
) -> wire.ImportResponse:
    async def stream() -> AsyncIterator[wire.ExportResponse]:
        for part in parts:
            yield part

    async with CacheClient(served.target, namespace=namespace) as cache:
        return await cache.import_(stream())


def entries(parts: Sequence[wire.ExportResponse]) -> list[wire.ExportedEntry]:
    return [wire.ExportedEntry.FromString(part.entry.entry) for part in parts if part.WhichOneof("part") == "entry"]


async def test_what_is_exported_is_imported_whole_and_twice_is_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with serving(settings(tmp_path / "a", NAMESPACES)) as first:
        await filled(first)
        await first.call(lookup(QUESTIONS[0]))
        await first.service.cache.upkeep.flush()
        parts = await parts_of(first)
    async with serving(settings(tmp_path / "b", NAMESPACES)) as second:
        results = [await taken(second, parts) for _ in range(2)]
        again = await parts_of(second)  # before it is used: uses are part of it
        found = [await second.call(lookup(question)) for question in QUESTIONS]
        near = await second.call(lookup("How can I reset my password?"))

    assert [part.WhichOneof("part") for part in parts] == ["header", "entry", "entry", "entry", "trailer"]
    assert [(result.imported, result.expired, result.embedded) for result in results] == [(3, 0, 0)] * 2
    assert [response.completion.text for response in found] == [f"About: {question}" for question in QUESTIONS]
    assert wire.Outcome.Name(near.outcome) == "OUTCOME_SEMANTIC"
    assert entries(again) == entries(parts)
    assert sum(entry.hits for entry in entries(parts)) == 1


async def test_another_model_embeds_anew(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with serving(settings(tmp_path / "a", NAMESPACES)) as first:
        await filled(first)
        parts = await parts_of(first)
    other = EmbedderSettings(model=str(model_folder("fp32")))
    async with serving(settings(tmp_path / "b", NAMESPACES, embedder=other)) as second:
        result = await taken(second, parts)
        near = await second.call(lookup("How can I reset my password?"))

    assert (result.imported, result.embedded) == (3, 3)
    assert wire.Outcome.Name(near.outcome) == "OUTCOME_SEMANTIC"


async def test_one_tenants_entries_are_exported_alone(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        await filled(served, 1)
        await served.call(store(QUESTIONS[1], tenant="globex"))

        parts = await parts_of(served, "globex")

    assert [entry.prompt for entry in entries(parts)] == [QUESTIONS[1]]


async def test_what_is_damaged_or_cut_is_refused(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        await filled(served)
        header, first, second, third, trailer = await parts_of(served)
        damaged = wire.ExportResponse()
        damaged.CopyFrom(second)
        damaged.entry.entry = damaged.entry.entry[:-1] + b"\x00"
        unknown = wire.ExportResponse(header=wire.ExportHeader(version=2, namespace="support"))

        cases = {
            "damaged": [header, first, damaged, third, trailer],
            "cut": [header, first, second],
            "an entry lost": [header, first, third, trailer],
            "another order": [header, second, first, third, trailer],
            "no header": [first, second, third, trailer],
            "two headers": [header, header, first, second, third, trailer],
            "something after the end": [header, first, second, third, trailer, first],
            "nothing": [],
            "a part of nothing": [header, wire.ExportResponse(), first, second, third, trailer],
            "another version": [unknown, first, second, third, trailer],
        }
        told = {}
        for name, parts in cases.items():
            with pytest.raises(CacheError) as refused:
                await taken(served, parts)
            told[name] = str(refused.value).partition(":")[0]

    assert told == dict.fromkeys(cases, "DATA_LOSS") | {"another version": "INVALID_ARGUMENT"}


async def test_an_export_belongs_to_the_namespace_of_its_name(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        parts = await parts_of(served)

        with pytest.raises(CacheError, match="INVALID_ARGUMENT: namespace: the export is of `support`"):
            await taken(served, parts, "sales")


async def test_what_has_expired_meanwhile_is_left_out(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        await filled(served, 1)
        header, sealed, trailer = await parts_of(served)
        (entry,) = entries([sealed])
        entry.expires_at.seconds = 1
        sealed.entry.entry = entry.SerializeToString(deterministic=True)
        reseal([sealed], trailer)

        result = await taken(served, [header, sealed, trailer])

    assert (result.imported, result.expired) == (0, 1)


def reseal(parts: Sequence[wire.ExportResponse], trailer: wire.ExportResponse) -> None:
    digests = []
    for part in parts:
        part.entry.sha256 = hashlib.sha256(part.entry.entry).digest()
        digests.append(part.entry.sha256)
    trailer.trailer.sha256 = hashlib.sha256(b"".join(digests)).digest()


async def test_an_entry_that_is_none_is_named(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        await filled(served, 1)
        header, sealed, trailer = await parts_of(served)
        (entry,) = entries([sealed])
        entry.id = "x"
        sealed.entry.entry = entry.SerializeToString(deterministic=True)
        reseal([sealed], trailer)

        with pytest.raises(CacheError, match="INVALID_ARGUMENT: entry 1: has no id"):
            await taken(served, [header, sealed, trailer])


async def test_a_caller_that_leaves_in_the_middle_of_an_export_harms_nobody(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        await filled(served)
        export = served.channel.unary_stream(f"/{NAME}/Export", request_serializer=wire.ExportRequest.SerializeToString)
        call = export(wire.ExportRequest(namespace="support"))
        assert await call.read() is not grpc.aio.EOF
        call.cancel()

        assert len(entries(await parts_of(served))) == 3


async def test_more_entries_than_are_taken_at_a_time_are_all_taken(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        await filled(served)
        header, *sealed, trailer = await parts_of(served)
        many = [*sealed, *sealed * 30]
        reseal(many, trailer)
        trailer.trailer.entries = len(many)

        result = await taken(served, [header, *many, trailer])

    assert (len(many), result.imported) == (93, 93)


async def test_a_store_that_is_away_ends_an_export_and_an_import_and_says_how_far_it_came(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        await filled(served)
        parts = await parts_of(served)
        (store_,) = served.service.stores._stores.values()  # type: ignore[attr-defined]
        store_.shard._restart = lambda: None
        os.kill(store_.shard.pid, signal.SIGKILL)
        await served.until(lambda: not store_.is_healthy)

        with pytest.raises(CacheError, match="UNAVAILABLE"):
            await parts_of(served)
        with pytest.raises(CacheError, match=r"UNAVAILABLE: .*; 0 entries were taken, and may be sent again"):
            await taken(served, parts)


async def test_an_import_that_is_given_up_is_given_up(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served, client(served) as cache:
        asked = asyncio.Event()
        await cache.describe()  # a connection is there

        async def never() -> AsyncIterator[wire.ExportResponse]:
            asked.set()
            await asyncio.Event().wait()
            yield wire.ExportResponse()

        importing = asyncio.create_task(cache.import_(never()))
        await asked.wait()
        importing.cancel()

        with pytest.raises(asyncio.CancelledError):
            await importing
