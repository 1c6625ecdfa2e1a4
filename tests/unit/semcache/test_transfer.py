from __future__ import annotations

import pytest

from semcache.backends import Backend
from semcache.entry import EmbeddedEntry, Record, State
from semcache.errors import StoreUnavailable
from semcache.transfer import Transfer
from tests.fakes.caches import OneBackend, namespace
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.entries import MODEL, NOW, row
from tests.fakes.store import FakeStore, FakeStores


async def exported(*rows: EmbeddedEntry) -> list[str]:
    store = FakeStore(MODEL)
    await store.add(rows)
    transfer = Transfer(FakeStores(), OneBackend(Backend(FakeEmbedder(), store)))
    return sorted([each.entry.prompt async for each in transfer.export(namespace(), None, NOW)])


async def test_what_may_still_be_served_is_exported_and_what_is_in_quarantine() -> None:
    found = await exported(
        row("lives"),
        row("in quarantine", record=Record(State.QUARANTINED)),
        row("pending", record=Record(State.PENDING)),
        row("over", expires_at=NOW),
        row("of another epoch", epoch=7),
    )

    assert found == ["in quarantine", "lives"]


async def test_every_page_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semcache.transfer._PAGE_ENTRIES", 2)

    assert await exported(*(row(f"p{number}") for number in range(5))) == [f"p{number}" for number in range(5)]


async def test_without_its_model_a_namespace_is_not_exported() -> None:
    with pytest.raises(StoreUnavailable, match="not loaded"):
        _ = [each async for each in Transfer(FakeStores(), OneBackend(None)).export(namespace(), None, NOW)]
