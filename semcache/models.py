"""Which model and store answer for each namespace: by its lineage, which carries entries over when its model changes.

    namespaces ─▶ the models they name ─▶ load (seconds) ─▶ a lineage each ─▶ Backend

1. A namespace whose model is not loaded yet, or cannot be, or whose store is away, is a BYPASS until that has changed: it
   is tried again from time to time. Only a model that cannot be loaded in the beginning ends the start: that is a mistake
   of whoever set it up, and a store that is away is not.
2. A model stays loaded when no namespace names it any more: it is few, and what is carried from it needs it.
3. A set of namespaces that comes while another is worked on is worked on next; the last one counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from semcache.backends import Backend, Phase, Progress
from semcache.embedder import Embedder
from semcache.errors import SemcacheError, StoreError, StoreRefused
from semcache.migration.lineage import Answering, Lineage
from semcache.namespaces import Namespace, Namespaces

log = logging.getLogger(__name__)

Make: TypeAlias = Callable[[str], Awaitable[Embedder]]
"""Returns the embedder of a model by its name in namespaces; started."""
Find: TypeAlias = Callable[[str], Awaitable[Embedder | None]]
"""Returns the embedder of a model by its slug, started; None where it is not to be had."""
MakeLineage: TypeAlias = Callable[[str, Find], Lineage]
"""Returns the lineage of a namespace, which finds older models."""


class Models:
    """Backends of one process."""

    def __init__(
        self,
        make: Make,
        find: Find,
        make_lineage: MakeLineage,
        namespaces: Callable[[], Namespaces],
        memory_max: int,
        retry_seconds: float,
    ) -> None:
        self._make = make
        self._find_export = find
        self._make_lineage = make_lineage
        self._namespaces = namespaces
        self._memory_max = memory_max
        self._retry_seconds = retry_seconds
        self._embedders: dict[str, Embedder] = {}
        self._lineages: dict[str, tuple[str, Lineage]] = {}
        self._backends: dict[Answering, Backend] = {}
        self._working: asyncio.Task[None] | None = None
        self._is_behind = False
        self._is_started = False
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Load what the namespaces name; what has no store yet is tried again in the background.

        Raises:
            SemcacheError: a model cannot be loaded.
        """
        has_all = True
        for namespace in self._namespaces().members:
            try:
                await self._take(namespace)
            except StoreError as error:
                self._tell(namespace, error)
                has_all = False
        self._is_started = True
        if not has_all:
            self._working = asyncio.create_task(self._try_again())

    def follow(self) -> None:
        """Take a new set of namespaces, in the background."""
        self._is_behind = True
        self._news.set()
        if self._is_started and (self._working is None or self._working.done()):
            self._working = asyncio.create_task(self._catch_up())

    async def stop(self) -> None:
        """Let models go; what is carried from one to another stays where it is."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
        for _, lineage in self._lineages.values():
            await lineage.stop()
        for embedder in self._embedders.values():
            await embedder.stop()

    def of(self, namespace: Namespace) -> Backend | None:
        """Return what answers for a namespace now."""
        known = self._lineages.get(namespace.name)
        if known is None:
            return None
        answering = known[1].answering
        backend = self._backends.get(answering)
        if backend is None:
            backend = self._backends[answering] = Backend(answering.embedder, answering.store, self._memory_max)
        return backend

    def progress(self, namespace: Namespace) -> Progress:
        """Return how far a change of a namespace's model is."""
        known = self._lineages.get(namespace.name)
        return known[1].progress if known else Progress(Phase.SETTLED)

    async def roll_back(self, namespace: Namespace) -> None:
        """Have the model before answer again.

        Raises:
            StoreRefused: there is none that could.
        """
        known = self._lineages.get(namespace.name)
        if known is None:
            raise StoreRefused(f"the model of {namespace.name} is not loaded")
        await known[1].roll_back()

    async def _catch_up(self) -> None:
        while self._is_behind:
            self._is_behind, has_all = False, True
            for namespace in self._namespaces().members:
                try:
                    await self._take(namespace)
                except SemcacheError as error:
                    self._tell(namespace, error)
                    has_all = False
            await self._drop(self._lineages.keys() - {each.name for each in self._namespaces().members})
            if not has_all:
                await self._rest()

    async def _try_again(self) -> None:
        await self._rest()
        await self._catch_up()

    async def _rest(self) -> None:
        """Wait for the next attempt, or for other namespaces."""
        if not self._is_behind:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._retry_seconds):
                    await self._news.wait()
        self._is_behind = True

    @staticmethod
    def _tell(namespace: Namespace, error: SemcacheError) -> None:
        named = f" `{namespace.model}`" if namespace.model else ""
        log.error("%s: its model%s cannot be had: %s", namespace.name, named, error)

    async def _take(self, namespace: Namespace) -> None:
        known = self._lineages.get(namespace.name)
        if known is not None and known[0] == namespace.model:
            return
        embedder = await self._load(namespace.model)
        lineage = known[1] if known else self._make_lineage(namespace.name, self._find)
        await lineage.start(embedder)
        self._lineages[namespace.name] = (namespace.model, lineage)
        kept = {each.answering for _, each in self._lineages.values()}
        self._backends = {answering: backend for answering, backend in self._backends.items() if answering in kept}

    async def _drop(self, names: set[str]) -> None:
        for name in names:
            _, lineage = self._lineages.pop(name)
            await lineage.stop()

    async def _load(self, name: str) -> Embedder:
        if name not in self._embedders:
            self._embedders[name] = await self._make(name)
            log.info("model loaded: %s", self._embedders[name].identity.slug)
        return self._embedders[name]

    async def _find(self, slug: str) -> Embedder | None:
        """Return an older model, or None where it cannot be loaded any more."""
        for embedder in self._embedders.values():
            if embedder.identity.slug == slug:
                return embedder
        try:
            found = await self._find_export(slug)
        except SemcacheError as error:
            log.warning("%s cannot be loaded: %s", slug, error)
            return None
        if found is not None:
            # Under its slug, which is no name: it is stopped with the others.
            self._embedders[slug] = found
        return found
