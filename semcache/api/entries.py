"""Entries of an export, from and to the wire."""

from __future__ import annotations

import math

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.api.reading import Refused, decode, read_completion
from semcache.api.writing import write_completion, write_time
from semcache.entry import EmbeddedEntry, Entry, EntryId, Record, ScopeId, State
from semcache.scope import is_entry_id, is_scope_id
from semcache.transfer import Carried


def write_entry(row: EmbeddedEntry) -> wire.ExportedEntry:
    """Return an entry for the wire."""
    entry, record = row.entry, row.entry.record
    return wire.ExportedEntry(
        id=entry.id,
        scope_id=entry.scope,
        tenant=entry.tenant,
        prompt=entry.prompt,
        history=entry.history,
        completion=write_completion(entry.completion),
        created_at=write_time(entry.created_at),
        expires_at=write_time(entry.expires_at),
        tags=entry.tags,
        source=entry.source,
        hits=record.hits,
        right=record.right,
        wrong=record.wrong,
        quarantined=record.state is State.QUARANTINED,
        used_at=write_time(record.used_at),
        embedding=row.embedding.astype("<f4").tobytes(),
    )


def read_entry(message: bytes, number: int) -> Carried:
    """Return an entry of the wire; namespace and epoch will be those that take it.

    Raises:
        Refused: it cannot be an entry; `number` says which.
    """
    found = decode(wire.ExportedEntry, message)
    if not is_entry_id(found.id) or not is_scope_id(found.scope_id) or not found.prompt:
        raise Refused.field(f"entry {number}", "has no id, no scope or no prompt")
    if len(found.embedding) % 4:
        raise Refused.field(f"entry {number}", "its embedding is not made of 32-bit floats")
    embedding = np.frombuffer(found.embedding, "<f4").astype(np.float32)
    if not np.isfinite(embedding).all():
        raise Refused.field(f"entry {number}", "its embedding has what is no number")
    entry = Entry(
        id=EntryId(found.id),
        namespace="",
        scope=ScopeId(found.scope_id),
        prompt=found.prompt,
        completion=read_completion(found.completion),
        created_at=_read_time(found.created_at),
        expires_at=_read_time(found.expires_at),
        tenant=found.tenant,
        history=found.history,
        tags=tuple(found.tags),
        source=dict(found.source),
        record=Record(
            State.QUARANTINED if found.quarantined else State.LIVE,
            found.hits,
            found.right,
            found.wrong,
            _read_time(found.used_at),
        ),
    )
    return Carried(entry, embedding)


def _read_time(at: Timestamp) -> float:
    return max(0.0, math.fsum((at.seconds, at.nanos / 1e9)))
