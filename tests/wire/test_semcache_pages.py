"""The cache's pages for machines, and what a service does by itself."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from semcache import settings as semcache_settings
from semcache.app import make_embedder
from semcache.settings import EmbedderSettings
from serving.clock import SystemClock
from tests.fakes.models import model_folder
from tests.fakes.semcache_service import NAMESPACES, lookup, serving, settings, store

PASSWORD = "How do I reset my password?"


async def test_metrics_are_told_to_prometheus(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        await served.call(lookup(PASSWORD))
        (pages,) = [part for part in served.service.parts() if type(part).__name__ == "HttpServer"]
        await pages.start()
        url = f"http://127.0.0.1:{pages.port}/metrics"  # type: ignore[attr-defined]
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            text = await answer.text()
        await pages.stop()

    assert answer.status == 200
    assert 'weir_semcache_lookups{ns="support",outcome="miss"' in text


async def test_no_namespace_keeps_more_than_it_may(tmp_path: Path) -> None:
    two = NAMESPACES.replace("name: support\n", "name: support\n    entries_max: 2\n", 1)
    async with serving(settings(tmp_path, two)) as served:
        for number in range(4):
            await served.call(store(f"What is {number} times {number}?"))
        await served.service.sweeper.sweep()

        assert served.value("swept", reason="capacity") == 2


async def test_an_export_that_is_not_there_any_more_is_no_model(tmp_path: Path) -> None:
    chosen = EmbedderSettings(model=str(model_folder()), models_folder=str(tmp_path))
    async with serving(settings(tmp_path, NAMESPACES, embedder=chosen)) as served:
        assert await served.service._find_embedder("gone-r1-fp32") is None


async def test_without_a_model_named_it_is_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCACHE_EMBEDDER_MODELS_FOLDER", str(model_folder().parent))
    monkeypatch.delenv("SEMCACHE_EMBEDDER_MODEL", raising=False)

    embedder = make_embedder(semcache_settings.load(), "", SystemClock())
    await embedder.start()

    assert embedder.identity.name in model_folder().name
    await embedder.stop()
