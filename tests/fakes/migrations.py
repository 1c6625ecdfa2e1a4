"""Two models over one set of stores, and entries with vectors of either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semcache.embedder import ModelIdentity
from semcache.entry import EmbeddedEntry
from semcache.store import EntryStore, Selector
from tests.fakes.embedder import DIMENSIONS, FakeEmbedder
from tests.fakes.entries import entry

NAMESPACE = "support"


def model(revision: str) -> FakeEmbedder:
    """A model of words that is started; each revision is a model of its own."""
    embedder = FakeEmbedder()
    embedder.identity = ModelIdentity("test/words", revision, "fp32", DIMENSIONS)  # type: ignore[misc] # of this one
    embedder.failure = None
    return embedder


async def rows(embedder: FakeEmbedder, prompts: Sequence[str], **fields: Any) -> list[EmbeddedEntry]:
    vectors = (await embedder.embed(prompts)).embeddings
    return [EmbeddedEntry(entry(prompt, **fields), vector) for prompt, vector in zip(prompts, vectors, strict=True)]


async def prompts_of(store: EntryStore) -> set[str]:
    return {each.entry.prompt for each in (await store.scan(Selector(), 10_000)).entries}
