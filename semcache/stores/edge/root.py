"""The folder of all models: a store in each, aliases and epochs in files that are replaced at once.

folder/                0700
├── lock               held while a service has the folder
├── aliases.json       alias → slug
├── epochs.json        namespace → epoch
├── invalid.json       namespace → what was invalidated lately, the newest last
├── notes/<topic>/     a file each, named by what stands for its name
└── models/<slug>/     identity.json, current, 1/ …
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from semcache.embedder import ModelIdentity
from semcache.errors import StoreRefused, StoreUnavailable
from semcache.invalidation import NOTED_MAX, Moment, Noted
from semcache.settings import EdgeSettings
from semcache.stores.edge.store import EdgeStore
from serving.files import replace_file

_IDENTITY = "identity.json"
# Of what stands for a note's name: names may hold anything.
_NAME_DIGITS = 32


class EdgeStores:
    """Qdrant Edge for every model; one service at a time has the folder."""

    def __init__(self, settings: EdgeSettings) -> None:
        self._settings = settings
        self._folder = Path(settings.folder)
        self._stores: dict[str, EdgeStore] = {}
        self._aliases: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._invalid: dict[str, list[Noted]] = {}
        self._lock = -1
        self._opening = asyncio.Lock()

    async def start(self) -> None:
        """Take the folder.

        Raises:
            StoreUnavailable: another service has it, or it cannot be read.
        """
        try:
            (self._folder / "models").mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._aliases = self._read("aliases.json")
            self._epochs = self._read("epochs.json")
            noted = self._read("invalid.json")
            self._invalid = {name: [Noted(*each) for each in rows] for name, rows in noted.items()}
        except BlockingIOError:
            self._unlock()
            raise StoreUnavailable(f"another process has {self._folder}") from None
        except (OSError, ValueError, TypeError) as error:
            self._unlock()
            raise StoreUnavailable(f"{self._folder} cannot be used: {error}") from error

    async def open(self, identity: ModelIdentity) -> EdgeStore:
        """Open or make the store of a model."""
        try:
            return await self._open(identity)
        except OSError as error:
            raise StoreUnavailable(f"the store of {identity.slug} cannot be opened: {error}") from error

    async def _open(self, identity: ModelIdentity) -> EdgeStore:
        # One at a time: a second engine on the folder would wait for the first one's lock until it gives up.
        async with self._opening:
            if identity.slug not in self._stores:
                folder = self._folder / "models" / identity.slug
                folder.mkdir(mode=0o700, exist_ok=True)
                replace_file(folder / _IDENTITY, json.dumps(asdict(identity)))
                store = EdgeStore(folder, identity, self._settings)
                await store.shard.start()
                self._stores[identity.slug] = store
            return self._stores[identity.slug]

    async def models(self) -> Mapping[str, ModelIdentity]:
        """Return the models that have a folder."""
        found = (self._folder / "models").glob(f"*/{_IDENTITY}")
        return {path.parent.name: ModelIdentity(**json.loads(path.read_text())) for path in found}

    async def drop(self, slug: str) -> None:
        """Remove a model's folder."""
        if slug in self._aliases.values():
            raise StoreRefused(f"{slug} answers for an alias")
        if store := self._stores.pop(slug, None):
            await store.shard.stop()
        # A rename first: what is half removed must not be taken for a store.
        path, gone = self._folder / "models" / slug, self._folder / "removing"
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    async def aliases(self) -> Mapping[str, str]:
        """Return which model answers for each alias."""
        return dict(self._aliases)

    async def serve(self, alias: str, slug: str) -> None:
        """Move an alias."""
        if slug not in await self.models():
            raise StoreRefused(f"{slug} has no store")
        self._write("aliases.json", self._aliases | {alias: slug})
        self._aliases[alias] = slug

    async def moments(self, namespaces: Sequence[str]) -> Sequence[Moment]:
        """Return epochs and marks."""
        return self.known_moments(namespaces)

    def known_moments(self, namespaces: Sequence[str]) -> Sequence[Moment]:
        """Return epochs and marks: no other process has the folder."""
        return [Moment(self._epochs.get(namespace, 0), self._mark(namespace)) for namespace in namespaces]

    async def advance_epoch(self, namespace: str, now: float) -> int:
        """Advance an epoch."""
        epoch = max(self._epochs.get(namespace, 0) + 1, int(now * 1000))
        self._write("epochs.json", self._epochs | {namespace: epoch})
        self._epochs[namespace] = epoch
        return epoch

    async def invalidate(self, namespace: str, subjects: Collection[str], now: float) -> int:
        """Note an invalidation."""
        mark = max(self._mark(namespace) + 1, int(now * 1000))
        noted = [*self._invalid.get(namespace, []), *(Noted(mark, each) for each in subjects)][-NOTED_MAX:]
        written = {name: list(map(astuple, rows)) for name, rows in (self._invalid | {namespace: noted}).items()}
        self._write("invalid.json", written)
        self._invalid[namespace] = noted
        return mark

    async def invalidations(self, namespace: str, after: int) -> Sequence[Noted]:
        """Return what was noted above a mark."""
        return [each for each in self._invalid.get(namespace, ()) if each.mark > after]

    async def notes(self, topic: str) -> Mapping[str, str]:
        """Read the files of a topic; one that is damaged is none."""
        return await asyncio.to_thread(self._read_notes, topic)

    async def note(self, topic: str, name: str, text: str) -> None:
        """Replace the file of a note."""
        folder = self._folder / "notes" / topic
        try:
            await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
            path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:_NAME_DIGITS]}.json"
            await asyncio.to_thread(replace_file, path, json.dumps({"name": name, "text": text}))
        except OSError as error:
            raise StoreUnavailable(f"{folder} cannot be written: {error.strerror}") from error

    async def stop(self) -> None:
        """Stop every store and let the folder go."""
        for store in self._stores.values():
            await store.shard.stop()
        self._stores.clear()
        self._unlock()

    def _mark(self, namespace: str) -> int:
        noted = self._invalid.get(namespace)
        return noted[-1].mark if noted else 0

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _read_notes(self, topic: str) -> Mapping[str, str]:
        found = {}
        for path in (self._folder / "notes" / topic).glob("*.json"):
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                note = json.loads(path.read_text())
                found[str(note["name"])] = str(note["text"])
        return found

    def _read(self, name: str) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads((self._folder / name).read_text()))
        return {}

    def _write(self, name: str, value: Mapping[str, object]) -> None:
        try:
            replace_file(self._folder / name, json.dumps(value, sort_keys=True))
        except OSError as error:
            raise StoreUnavailable(f"{self._folder / name} cannot be written: {error.strerror}") from error
