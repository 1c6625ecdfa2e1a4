"""Spans of the cache reach a real collector, with what a call saved and without what it asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from semcache.settings import SemcacheTracingSettings
from tests.fakes.collector import Collector, attributes
from tests.fakes.semcache_service import NAMESPACES, lookup, serving, settings, store

SECRET = "How do I reset the secret password of mine?"


async def test_a_lookup_tells_its_outcome_and_tokens_and_never_its_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector()
    await collector.start()
    for name, value in collector.environment("grpc").items():
        monkeypatch.setenv(name, value)
    tracing = SemcacheTracingSettings(tracing_enabled=True, tracing_exporter_protocol="grpc")
    async with serving(settings(tmp_path, NAMESPACES, tracing=tracing)) as served:
        offer = store(SECRET, "By secret mail.", scope={"model": "small"})
        offer.completion.usage.output_tokens = 7
        await served.call(offer)
        await served.call(lookup(SECRET, scope={"model": "small"}))
        spans = await collector.until_spans(2)
    await collector.stop()

    told = {span.name: attributes(span.attributes) for span in spans}
    assert told["semcache.lookup"]["weir.semcache.outcome"] == "exact"
    assert told["semcache.lookup"]["gen_ai.request.model"] == "small"
    assert told["semcache.lookup"]["gen_ai.usage.output_tokens"] == 7
    assert told["semcache.store"]["weir.semcache.refusal"] == "unspecified"
    assert "secret" not in str(told)
