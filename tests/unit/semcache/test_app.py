from __future__ import annotations

from pathlib import Path

import pytest

from semcache import settings as semcache_settings
from semcache.app import main, make_embedder
from semcache.errors import EmbedUnavailable
from serving.clock import SystemClock


def test_what_cannot_be_served_is_an_exit_status_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEMCACHE_GRPC_PORT", "high")

    status = main()

    assert status == 1
    assert "SEMCACHE_GRPC_PORT" in capsys.readouterr().err


async def test_a_model_of_sentence_transformers_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEMCACHE_EMBEDDER_KIND", "sentence")
    monkeypatch.setenv("SEMCACHE_EMBEDDER_MODEL", str(tmp_path))
    embedder = make_embedder(semcache_settings.load(), "", SystemClock())

    with pytest.raises(EmbedUnavailable, match="sentence-transformers"):
        await embedder.start()
    with pytest.raises(EmbedUnavailable, match="not loaded"):
        await embedder.embed(["a"])
    with pytest.raises(EmbedUnavailable, match="not loaded"):
        _ = embedder.identity
    await embedder.stop()
