"""Filling a store with many entries of one scope, straight through the adapter, and building its index."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from bench.semcache.prompts import Vectors
from semcache.embedder import ModelIdentity
from semcache.entry import Completion, EmbeddedEntry, Entry, Record, Usage
from semcache.scope import Scope, entry_id
from semcache.settings import EdgeSettings
from semcache.store import Question
from semcache.stores.edge.root import EdgeStores
from semcache.stores.edge.store import EdgeStore

NAMESPACE, TENANT = "bench", "acme"
SCOPE = Scope(NAMESPACE, tenant=TENANT).id
ANSWER = "Open the settings, choose the item, and follow the steps that are shown there; it takes effect at once. " * 4
_BATCH = 64


@asynccontextmanager
async def opened(folder: Path, identity: ModelIdentity) -> AsyncIterator[EdgeStore]:
    """Have a store open whose upkeep waits until it is asked for."""
    settings = EdgeSettings(folder=str(folder), flush_interval=1e6, timeout=120.0, start_timeout=600.0)
    stores = EdgeStores(settings)
    await stores.start()
    try:
        yield await stores.open(identity)
    finally:
        await stores.stop()


async def fill(store: EdgeStore, prompts: Sequence[str], vectors: Vectors, now: float) -> dict[str, float]:
    """Add an entry for each prompt; return how long it took."""
    before = time.perf_counter()
    for start in range(0, len(prompts), _BATCH):
        part = prompts[start : start + _BATCH]
        await store.add([_row(prompt, vectors[start + number], now) for number, prompt in enumerate(part)])
        if start % (_BATCH * 100) == 0:
            sys.stderr.write(f"\radded {start} of {len(prompts)}")
    sys.stderr.write("\n")
    return {"add_seconds": time.perf_counter() - before}


async def use(store: EdgeStore, prompts: Sequence[str], now: float) -> None:
    """Note a use of each prompt's entry, as upkeep does."""
    for start in range(0, len(prompts), _BATCH):
        used = Record(hits=1, used_at=now + 1)
        await store.amend({entry_id(SCOPE, prompt): used for prompt in prompts[start : start + _BATCH]})


async def build(store: EdgeStore) -> dict[str, float]:
    """Build the index, as upkeep does; return how long it took."""
    before = time.perf_counter()
    await store.shard.build_index()
    return {"build_seconds": time.perf_counter() - before}


def sizes(store: EdgeStore, folder: Path, entries: int) -> dict[str, float]:
    """Return memory and disk per entry."""
    status = Path(f"/proc/{store.shard.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) * 1024
    anonymous = int(status.split("RssAnon:")[1].split()[0]) * 1024
    disk = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    return {
        "resident_bytes_per_entry": resident / entries,
        "anonymous_bytes_per_entry": anonymous / entries,
        "disk_bytes_per_entry": disk / entries,
    }


async def recall(store: EdgeStore, vectors: Vectors, asked: Vectors, now: float) -> float:
    """Return how often the nearest found is the nearest there is, by brute force over all vectors."""
    hits = 0
    for query in asked:
        ((found, *_),) = await store.nearest([Question(SCOPE, 0, query, limit=5)], now)
        best = float((vectors @ query).max())
        hits += found.similarity >= best - 1e-4
    return hits / len(asked)


async def search_times(store: EdgeStore, asked: Vectors, now: float) -> list[float]:
    """Return how long searches took, in ms, one after the other."""
    times = []
    for query in asked:
        before = time.perf_counter()
        await store.nearest([Question(SCOPE, 0, query, limit=5)], now)
        times.append((time.perf_counter() - before) * 1000)
    return times


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and the longest."""
    values = np.sort(np.asarray(times))
    return {
        "p50_ms": float(np.percentile(values, 50)),
        "p99_ms": float(np.percentile(values, 99)),
        "max_ms": float(values[-1]),
        "count": len(values),
    }


def pin(core: int) -> None:
    """Keep this process, and those that it starts, on one core."""
    os.sched_setaffinity(0, {core})


def go_first() -> None:
    """Have this process, and those that it starts, run before all others: as on a machine that does nothing else."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))


def _row(prompt: str, vector: Vectors, now: float) -> EmbeddedEntry:
    completion = Completion(ANSWER, model="bench", usage=Usage(120, 90))
    entry = Entry(
        id=entry_id(SCOPE, prompt),
        namespace=NAMESPACE,
        scope=SCOPE,
        prompt=prompt,
        completion=completion,
        created_at=now,
        expires_at=now + 86_400 * 30,
        tenant=TENANT,
        record=Record(used_at=now),
    )
    return EmbeddedEntry(entry, vector)
