"""Embeddings as bytes: little-endian float32, as every engine and file of ours has them."""

from __future__ import annotations

import numpy as np

from semcache.entry import Embedding


def to_bytes(embedding: Embedding) -> bytes:
    """Return the numbers of an embedding."""
    return np.ascontiguousarray(embedding, dtype="<f4").tobytes()


def from_bytes(data: bytes) -> Embedding:
    """Return the embedding of these numbers."""
    return np.frombuffer(data, dtype="<f4")


def from_list(numbers: object) -> Embedding:
    """Return the embedding of a list of numbers."""
    return np.asarray(numbers, dtype=np.float32)
