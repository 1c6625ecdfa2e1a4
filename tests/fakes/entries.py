"""Entries for tests: named by a prompt, near to each other by an angle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from semcache.embedder import ModelIdentity
from semcache.entry import Completion, EmbeddedEntry, Embedding, Entry, ScopeId, Usage
from semcache.scope import entry_id

NOW = 1_700_007_200.0
DIMENSIONS = 8
MODEL = ModelIdentity("test/angles", "r1", "fp32", DIMENSIONS)
SCOPE = ScopeId("0" * 31 + "a")
OTHER_SCOPE = ScopeId("0" * 31 + "b")


def angle(degrees: float) -> Embedding:
    """A unit vector; the similarity of two is the cosine of the angle between them."""
    embedding = np.zeros(DIMENSIONS, np.float32)
    embedding[0], embedding[1] = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return embedding


def entry(prompt: str, **fields: Any) -> Entry:
    values: dict[str, Any] = {
        "id": entry_id(fields.get("scope", SCOPE), prompt),
        "namespace": "support",
        "scope": SCOPE,
        "prompt": prompt,
        "completion": Completion(f"answer to {prompt}", usage=Usage(10, 20), body=b"\x00\xff", media_type="x/y"),
        "created_at": NOW,
        "expires_at": NOW + 60,
        "tenant": "acme",
    }
    return Entry(**values | fields)


def row(prompt: str, degrees: float = 0.0, **fields: Any) -> EmbeddedEntry:
    return EmbeddedEntry(entry(prompt, **fields), angle(degrees))
