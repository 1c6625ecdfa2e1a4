"""What stands behind a namespace: the model that embeds its prompts, and the store of that model's entries.

A prompt is embedded once: what a lookup embedded is remembered for the answer that is stored for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from semcache.embedder import Embedder
from semcache.entry import Embedding
from semcache.namespaces import Namespace
from semcache.store import EntryStore


@dataclass(frozen=True, slots=True)
class Vector:
    """An embedding, and how much of its prompt it stands for."""

    embedding: Embedding = field(repr=False, compare=False)
    """Zero, and so near nothing, where not all of the prompt was read."""
    tokens_unread: int = 0


@dataclass(eq=False, slots=True)
class Backend:
    """A model and its store."""

    embedder: Embedder
    store: EntryStore
    memory_max: int = 4_096
    """Prompts whose embedding is remembered: 1.5 kB each."""
    _known: OrderedDict[str, Vector] = field(default_factory=OrderedDict)

    @property
    def model(self) -> str:
        """Slug of the model."""
        return self.store.identity.slug

    async def embed(self, prompts: Sequence[str], deadline: float) -> Sequence[Vector]:
        """Return a vector for each prompt; one inference for all that are not known.

        Raises:
            EmbedError: as the embedder says.
        """
        vectors = {prompt: self._known[prompt] for prompt in prompts if prompt in self._known}
        new = list(dict.fromkeys(prompt for prompt in prompts if prompt not in vectors))
        if new:
            embedded = await self.embedder.embed(new, deadline)
            comparable = embedded.comparable
            for index, prompt in enumerate(new):
                # A row of its own: a view would keep the whole batch in memory.
                vectors[prompt] = Vector(comparable[index].copy(), embedded.tokens_unread(index))
        self._remember(vectors)
        return [vectors[prompt] for prompt in prompts]

    def _remember(self, vectors: dict[str, Vector]) -> None:
        self._known.update(vectors)
        for prompt in vectors:
            self._known.move_to_end(prompt)
        while len(self._known) > self.memory_max:
            self._known.popitem(last=False)


class Phase(Enum):
    """Where a change of models is."""

    SETTLED = "settled"
    FILLING = "filling"
    MOVED = "moved"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a change of models is."""

    phase: Phase
    old: str = ""
    """Slug of the model whose entries are carried; empty: there is no change."""
    new: str = ""
    read: int = 0
    """Entries of the old model that were gone through."""
    embedded: int = 0
    total: int = 0
    """Entries of the old model when it began."""


class Backends(Protocol):
    """Who stands behind whom; the answer may change while a model is changed."""

    def of(self, namespace: Namespace) -> Backend | None:
        """Return what answers for a namespace now, the same object for the same pair; None while it cannot be had."""

    def progress(self, namespace: Namespace) -> Progress:
        """Return how far a change of its model is."""

    async def roll_back(self, namespace: Namespace) -> None:
        """Have the model before answer again, at once and for every replica.

        Raises:
            StoreRefused: there is none that could.
        """
