"""What a restart keeps: answers, epochs, and what feedback taught."""

from __future__ import annotations

from pathlib import Path

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.settings import CacheSettings
from tests.fakes.semcache_service import PATIENT, Served, lookup, serving, settings, store

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
