"""What a restart keeps: what feedback taught, and answers, also under another embedding model."""

from __future__ import annotations

import asyncio
from pathlib import Path

from click.testing import CliRunner

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.settings import CacheSettings, EmbedderSettings, MigrationSettings, Settings
from tests.fakes.envoy import eventually
from tests.fakes.models import model_folder
from tests.fakes.semcache_service import PATIENT, Served, lookup, serving, settings, store
from weir.__main__ import main

NAMESPACES = """
namespaces:
  - {name: gated, explore: 0, target_error: 0.05, callers: [{anyone: true, roles: [administer]}]}
"""
JUDGED = 40
PROMPT, NEAR = "How do I reset my password?", "How can I reset my password?"


async def state(served: Served) -> wire.NamespaceState:
    response: wire.DescribeResponse = await served.call(wire.DescribeRequest(namespace="gated"))
    return response.namespaces[0]


async def close(served: Served) -> None:
    await served.call(store(PROMPT, namespace="gated"))
    for hit in [await served.call(lookup(NEAR, "gated")) for _ in range(JUDGED)]:
        await served.call(
            wire.FeedbackRequest(namespace="gated", lookup_id=hit.lookup_id, judgement=wire.JUDGEMENT_WRONG)
        )
    await served.call(store(PROMPT, "By telephone.", "gated"))


async def test_a_gate_that_feedback_closed_is_closed_after_a_restart(tmp_path: Path) -> None:
    configured = settings(tmp_path, NAMESPACES, cache=CacheSettings(**PATIENT, state_interval=3600.0))
    async with serving(configured) as served:
        await close(served)
        before = await state(served)

    async with serving(configured) as served:
        miss = await served.call(lookup(NEAR, "gated"))
        after = await state(served)

    assert miss.outcome == wire.OUTCOME_MISS
    assert (after.labels, after.is_gate_open) == (JUDGED, before.is_gate_open)


def under(folder: Path, precision: str) -> Settings:
    """Settings with the model in this precision, which is another model."""
    embedder = EmbedderSettings(models_folder=str(model_folder().parent), model=str(model_folder(precision)))
    migration = MigrationSettings(entries_per_second=1e6, retry_interval=0.02)
    return settings(folder, NAMESPACES, embedder=embedder, migration=migration, cache=CacheSettings(**PATIENT))


async def weir(served: Served, command: str) -> tuple[int, str]:
    named = ("--target", served.target, "--namespace", "gated")
    done = await asyncio.to_thread(CliRunner().invoke, main, ["cache", command, *named])
    return done.exit_code, done.output


async def moved(served: Served) -> bool:
    return (await state(served)).migration.phase == wire.MIGRATION_PHASE_MOVED


async def test_a_change_of_models_is_shown_and_rolled_back_by_command(tmp_path: Path) -> None:
    async with serving(under(tmp_path, "int8")) as served:
        await served.call(store(PROMPT, namespace="gated"))
        settled = await weir(served, "migration")
        refused = await weir(served, "rollback")
        before = (await state(served)).embedding_model

    async with serving(under(tmp_path, "fp32")) as served:
        await eventually(lambda: moved(served))
        after = (await state(served)).embedding_model
        shown = await weir(served, "migration")
        rolled = await weir(served, "rollback")
        found = await served.call(lookup(NEAR, "gated"))
        now = await state(served)

    assert settled == (0, f"settled: {before}\n")
    assert (refused[0], "FAILED_PRECONDITION: gated has no other model to go back to" in refused[1]) == (2, True)
    assert shown == (*(0, f"migration: moved; 1 of 1 entries read, 1 embedded here\nfrom: {before}\nto: {after}\n"),)
    assert (rolled[0], rolled[1].split()[0]) == (0, before)
    assert (now.embedding_model, now.migration.phase) == (before, wire.MIGRATION_PHASE_ROLLED_BACK)
    assert found.outcome == wire.OUTCOME_SEMANTIC
