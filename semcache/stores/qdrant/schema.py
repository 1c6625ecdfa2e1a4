"""What a collection is made like, and our conditions in Qdrant's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import models

from semcache.settings import QdrantSettings
from semcache.stores.conditions import Condition

# As the embedded engine's: a graph per scope and none over all, since no search goes over all.
_LINKS = 16
_CONSTRUCT = 100
# Entries of a graph that a search looks at: with 64 the embedded engine missed the nearest of 300,000 once in a hundred times,
# with 128 never.
SEARCH_WIDTH = 128
_CONDITIONS_MAX = 16
# 1. Through the leader of the moment: written weakly, two of us that change one point at once may leave its copies different
#    for good; through a permanent one, nothing is written while that node is down.
# 2. It is done when every copy has it or was taken out, so any one copy may be read. To ask most copies for what is read
#    would need all of them there, and leave out a point that is just being written: an epoch would seem to be 0.
WRITE: Mapping[str, Any] = {"wait": True, "ordering": models.WriteOrdering.MEDIUM}
# Vectors of the collection that holds epochs: it needs some.
EPOCH_DIMENSIONS = 1


def _keyword(*, is_tenant: bool = False) -> models.KeywordIndexParams:
    kind = models.KeywordIndexType.KEYWORD
    if is_tenant:
        return models.KeywordIndexParams(type=kind, is_tenant=True)
    return models.KeywordIndexParams(type=kind, enable_hnsw=False)


def _float() -> models.FloatIndexParams:
    return models.FloatIndexParams(type=models.FloatIndexType.FLOAT, enable_hnsw=False)


def _integer(*, is_range: bool) -> models.IntegerIndexParams:
    kind = models.IntegerIndexType.INTEGER
    return models.IntegerIndexParams(type=kind, lookup=True, range=is_range, enable_hnsw=False)


INDEXES: Mapping[str, Any] = {
    "scope": _keyword(is_tenant=True),
    "ns": _keyword(),
    "tenant": _keyword(),
    "tags": _keyword(),
    "epoch": _integer(is_range=True),
    "state": _integer(is_range=False),
    "created_at": _float(),
    "expires_at": _float(),
    "worth": _float(),
}
"""Every field that conditions name: strict mode refuses others."""


def collection(dimensions: int, settings: QdrantSettings) -> Mapping[str, Any]:
    """Return the arguments of a new collection."""
    return {
        "vectors_config": models.VectorParams(size=dimensions, distance=models.Distance.COSINE),
        "hnsw_config": models.HnswConfigDiff(m=0, payload_m=_LINKS, ef_construct=_CONSTRUCT),
        "quantization_config": models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        ),
        "on_disk_payload": True,
        **_copies(settings),
        "strict_mode_config": strict_mode(settings),
    }


def strict_mode(settings: QdrantSettings) -> models.StrictModeConfig:
    """Return what the server is to refuse: whatever no call of ours asks for."""
    return models.StrictModeConfig(
        enabled=True,
        unindexed_filtering_retrieve=False,
        unindexed_filtering_update=False,
        max_query_limit=settings.query_entries_max,
        search_max_hnsw_ef=SEARCH_WIDTH,
        # Exact *counts* are what this would forbid: no search of ours is exact.
        search_allow_exact=True,
        filter_max_conditions=_CONDITIONS_MAX,
    )


EPOCH_INDEXES: Mapping[str, Any] = {
    "epoch": _integer(is_range=True),
    "mark": _integer(is_range=True),
    "invalid": _keyword(),
    "noted": _integer(is_range=True),
    "topic": _keyword(),
}
"""A server may be set up so that strict mode is on for every collection."""


def epoch_collection(settings: QdrantSettings) -> Mapping[str, Any]:
    """Return the arguments of the collection that holds epochs."""
    vectors = models.VectorParams(size=EPOCH_DIMENSIONS, distance=models.Distance.DOT)
    return {"vectors_config": vectors, **_copies(settings)}


def _copies(settings: QdrantSettings) -> Mapping[str, Any]:
    return {
        "shard_number": settings.shard_number,
        "replication_factor": settings.replication_factor,
        "write_consistency_factor": settings.write_consistency_factor,
    }


def to_filter(conditions: Sequence[Condition]) -> models.Filter:
    """Return conditions that must all hold."""
    return models.Filter(must=[_condition(*condition) for condition in conditions])


def _condition(how: str, field: str, value: Any) -> models.Condition:  # noqa: ANN401 - as the condition says
    match how:
        case "is":
            return models.FieldCondition(key=field, match=models.MatchValue(value=value))
        case "in":
            return models.HasIdCondition(has_id=list(value))
        case _:
            return models.FieldCondition(key=field, range=models.Range(**{how: float(value)}))
