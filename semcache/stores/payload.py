"""How an entry is a payload beside its vector: fields that are searched by, and one document for the rest.

    ns scope tenant tags epoch state created_at expires_at worth     indexed, part of conditions
    prompt                                                           read with every candidate
    record doc                                                       read only when the entry itself is, or is brought along

Keys are short because they are repeated in every entry. `VERSION` changes when an old payload cannot be read.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

from semcache.entry import Completion, Entry, EntryId, Record, ScopeId, State, Usage
from semcache.store import Candidate

VERSION = 1
Payload: TypeAlias = Mapping[str, Any]

CANDIDATE_FIELDS = ["prompt"]
"""What a search reads of each entry."""


def to_payload(entry: Entry) -> dict[str, Any]:
    """Return an entry as a JSON object."""
    return {
        "v": VERSION,
        "ns": entry.namespace,
        "scope": entry.scope,
        "tenant": entry.tenant,
        "tags": list(entry.tags),
        "epoch": entry.epoch,
        "created_at": micros(entry.created_at),
        "expires_at": micros(entry.expires_at),
        "prompt": entry.prompt,
        "doc": _document(entry),
        **record_to_payload(entry.record),
    }


def record_to_payload(record: Record) -> dict[str, Any]:
    """Return what `amend` writes."""
    numbers = [record.hits, record.right, record.wrong, micros(record.used_at)]
    return {"state": int(record.state), "worth": record.worth, "record": [int(record.state), *numbers]}


def to_entry(entry_id: str, payload: Payload) -> Entry:
    """Return the entry that a payload was made of."""
    document = json.loads(payload["doc"])
    completion = document["completion"]
    completion["usage"] = Usage(**completion["usage"])
    completion["body"] = base64.b64decode(completion["body"])
    return Entry(
        id=EntryId(entry_id),
        namespace=payload["ns"],
        scope=ScopeId(payload["scope"]),
        prompt=payload["prompt"],
        completion=Completion(**completion),
        created_at=float(payload["created_at"]),
        expires_at=float(payload["expires_at"]),
        tenant=payload["tenant"],
        history=document.get("history", ""),
        epoch=payload["epoch"],
        tags=tuple(payload["tags"]),
        source=document["source"],
        record=to_record(payload),
    )


def to_record(payload: Payload) -> Record:
    """Return the record of a payload."""
    state, hits, right, wrong, used_at = payload["record"]
    return Record(State(int(state)), int(hits), int(right), int(wrong), float(used_at))


def to_candidate(entry_id: str, similarity: float, payload: Payload) -> Candidate:
    """Return a search's finding; cosines of equal vectors come out a little above 1 and are cut to it."""
    return Candidate(
        id=EntryId(entry_id),
        similarity=min(1.0, similarity),
        prompt=payload["prompt"],
        entry=to_entry(entry_id, payload) if "doc" in payload else None,
    )


def micros(at: float) -> float:
    """Return a time as it is kept: everything that is compared with one that is kept must be, too."""
    # Qdrant reads numbers of more digits a little off, a little more each time that they are stored again.
    return round(at, 6)


def _document(entry: Entry) -> str:
    completion = asdict(entry.completion)
    completion["body"] = base64.b64encode(entry.completion.body).decode()
    document: dict[str, object] = {"completion": completion, "source": dict(entry.source)}
    if entry.history:
        document["history"] = entry.history
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
