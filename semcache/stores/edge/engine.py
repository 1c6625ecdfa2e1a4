"""The process that owns one shard of Qdrant Edge: requests on stdin, answers on stdout, in order.

    EdgeStore (service) ── frame: id, verb, arguments ──▶ Engine ──▶ EdgeShard on disk
                        ◀── frame: id, result or error ──

1. A process and not a thread: every call into Qdrant Edge keeps Python's interpreter lock while it runs (measured:
   75 ms for 64 searches, 23 s for `optimize`), so a thread would stop the service's event loop all the same.
2. What was answered is in the shard's log, in the kernel's hands: killing this process or the service loses at most
   what was not answered. `flush` is for power cuts.
3. When stdin ends the service is gone, and so is this process, after the request under way. Two processes on one
   folder lose entries, and the log's own lock is not enough: a shard is read before that is taken, so one that opens
   while another closes misses what that one just moved from its log. Hence a lock of ours, taken before all and held
   to the end of the process; opening waits for it.
4. Only this module imports `qdrant_edge`. Traps of its version 0.9 that are covered here: conditions on booleans
   never match; a record that is gone fails `set_payload` by ids, but not by filter; a point that was written again or
   removed still counts as indexed, so the list that its segment keeps of such points is read (`sizes`).
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from uuid import UUID

import qdrant_edge as edge

from semcache.stores.edge.frames import read_frame, write_frame
from semcache.stores.edge.lock import lock
from semcache.stores.edge.records import Records, Row
from semcache.stores.edge.remains import Remains
from semcache.stores.edge.warming import warm

Condition: TypeAlias = tuple[str, str, Any]
Point: TypeAlias = tuple[str, bytes, dict[str, Any]]
"""Id, vector as little-endian float32, payload."""
Search: TypeAlias = tuple[bytes, Sequence[Condition], int, float, float]
"""Vector, conditions, limit, least similarity, and the similarity from which the nearest is wanted whole."""
Found: TypeAlias = tuple[str, float, dict[str, Any]]
"""Id, similarity, payload."""
Change: TypeAlias = tuple[str, Sequence[Condition], dict[str, Any]]
"""Id, what the entry must be, and fields of its payload: state, record and worth."""

_RECORDS = "records.sqlite"
# What is held against a finding, beside its scope.
_CHECKED = ("epoch", "state", "created_at", "expires_at")
# Precedent: Qdrant's own ef_construct and m, for the graph of each scope; there is no graph over all scopes, since
# no search goes over all.
_LINKS = 16
_CONSTRUCT = 100
# Entries of a graph that a search looks at, and so most of what it costs; what fewer miss: docs/semcache-speed.md.
_WIDTH_MIN, _WIDTH_MAX, _ENTRIES_FOR_EACH = 96, 512, 2_000
# Scopes with fewer kilobytes of vectors are read one by one: 10 MB are 6,800 vectors of 384.
_SCAN_KILOBYTES = 10_000
# An index is built from so many kilobytes on, and all is one segment: every search visits every segment.
_INDEX_KILOBYTES = 2_000
_SEGMENT_KILOBYTES = 1_000_000_000

_RESCORE = edge.QuantizationSearchParams(rescore=True)

_INDEXES: Mapping[str, Any] = {
    "scope": edge.KeywordIndexParams(is_tenant=True),
    "ns": edge.KeywordIndexParams(enable_hnsw=False),
    "tenant": edge.KeywordIndexParams(enable_hnsw=False),
    "tags": edge.KeywordIndexParams(enable_hnsw=False),
    "epoch": edge.IntegerIndexParams(lookup=True, range=True, enable_hnsw=False),
    "state": edge.IntegerIndexParams(lookup=True, range=False, enable_hnsw=False),
    "created_at": edge.FloatIndexParams(enable_hnsw=False),
    "expires_at": edge.FloatIndexParams(enable_hnsw=False),
    "worth": edge.FloatIndexParams(enable_hnsw=False),
}


def width(entries: int) -> int:
    """Return how many entries of a graph of that size a search looks at."""
    return min(_WIDTH_MAX, max(_WIDTH_MIN, entries // _ENTRIES_FOR_EACH))


class Engine:
    """One open shard; each public method is a verb of the protocol."""

    def __init__(self, folder: Path, dimensions: int, index_threads: int) -> None:
        self._folder = folder
        self._dimensions = dimensions
        self._index_threads = index_threads
        self._shard: Any = None
        self._records: Any = None
        self._width = _WIDTH_MIN
        self._remains: Any = None

    def open(self) -> None:
        """Open the shard, or make it; with an index of every field that is searched by."""
        if not self._folder.exists():
            self._make()
        self._shard = edge.EdgeShard.load(str(self._folder))
        # An index is built of a copy, which is then opened: as long as a shard is open, its graph is as large as it was.
        self._width = width(self._shard.info().points_count)
        self._records = Records(self._folder / _RECORDS)
        self._remains = Remains(self._folder)

    def _make(self) -> None:
        """Make an empty shard beside and rename it: a kill in the middle leaves nothing that looks like one."""
        fresh = self._folder.with_name(f"{self._folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        shard = edge.EdgeShard.create(str(fresh), self._config())
        for field, index in _INDEXES.items():
            shard.update(edge.UpdateOperation.create_field_index(field, index))
        shard.close()
        fresh.rename(self._folder)

    def get(self, ids: Sequence[str]) -> Sequence[Mapping[str, Any] | None]:
        """Return payloads in the order asked for."""
        found = self._payloads(ids)
        return [found.get(one) for one in ids]

    def nearest(self, searches: Sequence[Search], fields: Sequence[str]) -> Sequence[Sequence[Found]]:
        """Return ids, similarities and the payload's `fields` of each search's findings; all of it for a nearest that is near enough.

        Searched by scope alone first: each further condition is looked up for every vector that is compared, and they
        are half of a search. What was found is held against the others; where one does not hold, and what is behind it
        might, that search is made again with all of them.
        """
        wanted = [*fields, *(field for field in _CHECKED if field not in fields)]
        found = self._search([(vector, _scope(conditions), *rest) for vector, conditions, *rest in searches], wanted)
        again = [n for n, (search, points) in enumerate(zip(searches, found, strict=True)) if not _hold(search, points)]
        if again:
            for number, points in zip(again, self._search([searches[n] for n in again], wanted), strict=True):
                found[number] = points
        self._bring(searches, found)
        return found

    def _bring(self, searches: Sequence[Search], found: list[Sequence[Found]]) -> None:
        """Put the whole payload in the place of some fields, where the nearest is wanted so: one frame less, and its answer."""
        wanted = {n: points[0] for n, points in enumerate(found) if points and points[0][1] >= searches[n][4]}
        if wanted:
            whole = self._payloads([one for one, _, _ in wanted.values()])
            for number, (one, similarity, _) in wanted.items():
                found[number] = [(one, similarity, whole[one]), *found[number][1:]]

    def _payloads(self, ids: Sequence[str]) -> Mapping[str, dict[str, Any]]:
        # Ids stay text: right after an inference, taking one apart and putting it together takes 33 µs.
        found = {str(record.id): record.payload for record in self._shard.retrieve(list(ids), True, False)}
        self._records.merge(found)
        return found

    def _search(self, searches: Sequence[Any], fields: Sequence[str]) -> list[Sequence[Found]]:
        params = edge.SearchParams(hnsw_ef=self._width, quantization=_RESCORE)
        queries = [
            edge.QueryRequest(
                limit=limit,
                query=edge.Query.Nearest(_floats(vector)),
                filter=_filter(conditions),
                score_threshold=least,
                with_payload=list(fields),
                params=params,
            )
            for vector, conditions, limit, least, _ in searches
        ]
        found = self._shard.query_batch(edge.QueryBatchRequest(queries))
        return [[(str(point.id), point.score, point.payload) for point in points] for points in found]

    def add(self, points: Sequence[Point]) -> None:
        """Write points."""
        documents = {UUID(one): payload["doc"] for one, _, payload in points}
        self._remains.note(self._shard, [*documents], documents)
        made = [edge.Point(UUID(one), _floats(vector), payload) for one, vector, payload in points]
        self._records.drop(UUID(one) for one, _, _ in points)
        self._shard.update(edge.UpdateOperation.upsert_points(made))

    def amend(self, changes: Sequence[Change]) -> bool:
        """Replace the records of those points that there are; return whether the shard itself was changed."""
        ids = [UUID(one) for one, _, _ in changes]
        stored = {str(each.id): each.payload for each in self._shard.retrieve(ids, ["state", "worth"], False)}
        beside: list[Row] = []
        is_changed = False
        for one, conditions, payload in changes:
            before = stored.get(one)
            if before and before["state"] == payload["state"] and before["worth"] <= payload["worth"]:
                beside.append((UUID(one), payload["record"][1:], payload["worth"]))
            elif before:
                self._shard.update(edge.UpdateOperation.set_payload_by_filter(_filter(conditions), payload))
                self._records.drop([UUID(one)])
                is_changed = True
        self._records.put(beside)
        return is_changed

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points by id."""
        self._remains.note(self._shard, [UUID(one) for one in ids], {})
        self._records.drop(UUID(one) for one in ids)
        self._shard.update(edge.UpdateOperation.delete_points([UUID(one) for one in ids]))

    def remove(self, conditions: Sequence[Condition], limit: int) -> Sequence[str]:
        """Delete at most `limit` points; return which."""
        return self._delete_found(edge.ScrollRequest(limit=limit, filter=_filter(conditions), with_payload=False))

    def evict(self, namespace: str, limit: int) -> Sequence[str]:
        """Delete the `limit` points that are worth least; return which."""
        order, mine = edge.OrderBy("worth", edge.Direction.Asc), _filter([("is", "ns", namespace)])
        gone: list[str] = []
        while len(gone) < limit:
            request = edge.ScrollRequest(limit=limit - len(gone), filter=mine, order_by=order, with_payload=["record"])
            found, _ = self._shard.scroll(request)
            used = self._records.of([UUID(str(each.id)) for each in found])
            self._bring_up_to_date([each for each in found if UUID(str(each.id)) in used], used)
            least = [str(each.id) for each in found if UUID(str(each.id)) not in used]
            if not found:
                break
            if least:
                self.delete(least)
            gone += least
        return gone

    def count(self, conditions: Sequence[Condition]) -> int:
        """Count points."""
        # Of one indexed field the estimate is the index's own number; sweeps ask it, and one by one 100,000 take 15 ms.
        is_estimate_exact = len(conditions) == 1 and conditions[0][:2] == ("is", "ns")
        return int(self._shard.count(edge.CountRequest(filter=_filter(conditions), exact=not is_estimate_exact)))

    def scan(self, conditions: Sequence[Condition], limit: int, start: str | None) -> tuple[list[Point], str | None]:
        """Return points in the order of their ids, and where to go on."""
        offset = UUID(start) if start else None
        request = edge.ScrollRequest(
            offset=offset, limit=limit, filter=_filter(conditions), with_payload=True, with_vector=True
        )
        records, following = self._shard.scroll(request)
        return self._points(records), str(following) if following else None

    def ids(self, limit: int, start: str | None) -> tuple[list[str], str | None]:
        """Return ids in their order, and where to go on."""
        offset = UUID(start) if start else None
        records, following = self._shard.scroll(edge.ScrollRequest(offset=offset, limit=limit, with_payload=False))
        return [str(record.id) for record in records], str(following) if following else None

    def fetch(self, ids: Sequence[str]) -> Sequence[Point]:
        """Return those of the points that exist."""
        return self._points(self._shard.retrieve([UUID(one) for one in ids], True, True))

    def sizes(self) -> tuple[int, int]:
        """Return how many points there are, and how many of them searches find through an index, as of the last flush."""
        info = self._shard.info()
        return info.points_count, max(0, info.indexed_vectors_count - _removed(self._folder))

    def removed_at(self) -> float | None:
        """Return the Unix time since which there is text in files of what was removed; None: there is none."""
        since: float | None = self._remains.since
        return since

    def flush(self) -> None:
        """Force what was written to the disk."""
        self._shard.flush()

    def build(self) -> None:
        """Build indexes of all that is there: minutes, and nothing else is answered meanwhile."""
        self._shard.optimize()

    def close(self) -> None:
        """Flush and let the folder go."""
        self._shard.close()
        self._records.close()

    def _points(self, records: Sequence[Any]) -> list[Point]:
        points = [(record, record.payload) for record in records]
        self._records.merge({str(record.id): payload for record, payload in points})
        return [(str(record.id), array("f", record.vector).tobytes(), payload) for record, payload in points]

    def _bring_up_to_date(self, found: Sequence[Any], used: Mapping[UUID, Row]) -> None:
        for each in found:
            one, numbers, worth = used[UUID(str(each.id))]
            payload = {"record": [each.payload["record"][0], *numbers], "worth": worth}
            self._shard.update(edge.UpdateOperation.set_payload([one], payload))
        self._records.drop(used)

    def _delete_found(self, request: Any) -> Sequence[str]:  # noqa: ANN401 - a class of an untyped extension
        records, _ = self._shard.scroll(request)
        ids = [str(record.id) for record in records]
        if ids:
            self.delete(ids)
        return ids

    def _config(self) -> Any:  # noqa: ANN401 - a class of an untyped extension
        hnsw = edge.HnswIndexConfig(
            m=0,
            payload_m=_LINKS,
            ef_construct=_CONSTRUCT,
            full_scan_threshold=_SCAN_KILOBYTES,
            max_indexing_threads=self._index_threads,
        )
        small = edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, quantile=0.99, memory=edge.Memory.Cached)
        vectors = edge.EdgeVectorParams(size=self._dimensions, distance=edge.Distance.Cosine)
        # One thread: searches of a batch come one after the other anyway, and cores belong to the service.
        return edge.EdgeConfig(
            vectors=vectors,
            hnsw_config=hnsw,
            quantization_config=small,
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1, max_segment_size=_SEGMENT_KILOBYTES, indexing_threshold=_INDEX_KILOBYTES
            ),
            max_search_threads=1,
        )


VERBS: Mapping[str, Callable[..., Any]] = {
    name: getattr(Engine, name)
    for name in (
        "get",
        "nearest",
        "add",
        "amend",
        "delete",
        "remove",
        "evict",
        "count",
        "scan",
        "ids",
        "fetch",
        "sizes",
    )
} | {"removed_at": Engine.removed_at, "flush": Engine.flush, "build": Engine.build}


def serve(engine: Engine, reader: BinaryIO, writer: BinaryIO) -> None:
    """Answer frames until the reader ends or is cut."""
    while frame := read_frame(reader):
        number, verb, arguments = pickle.loads(frame)  # noqa: S301 - from the process that started this one
        try:
            answer = (number, True, VERBS[verb](engine, *arguments))
        except Exception as error:  # noqa: BLE001 - the extension raises plain Exception; one bad call fails alone
            answer = (number, False, f"{verb}: {error}")
        write_frame(writer, answer)


def _filter(conditions: Sequence[Condition]) -> Any:  # noqa: ANN401 - a class of an untyped extension
    return edge.Filter(must=[_condition(*condition) for condition in conditions])


def _scope(conditions: Sequence[Condition]) -> Sequence[Condition]:
    """Return the conditions that a search is never made without."""
    return [condition for condition in conditions if condition[1] not in _CHECKED]


def _hold(search: Search, points: Sequence[Found]) -> bool:
    checked = [condition for condition in search[1] if condition[1] in _CHECKED]
    return all(_holds(payload[field], how, value) for _, _, payload in points for how, field, value in checked)


def _holds(own: float, how: str, value: float) -> bool:
    """Say what the engine says of this condition; it compares in double precision as well."""
    return {"is": own == value, "gt": own > value, "gte": own >= value, "lt": own < value, "lte": own <= value}[how]


def _condition(how: str, field: str, value: Any) -> Any:  # noqa: ANN401 - as above
    match how:
        case "is":
            return edge.FieldCondition(field, match=edge.MatchValue(value))
        case "in":
            return edge.HasIdCondition({UUID(one) for one in value})
        case _:
            return edge.FieldCondition(field, range=edge.RangeFloat(**{how: float(value)}))


def _removed(folder: Path) -> int:
    """Return how many points of segments with an index are not in them any more: written again elsewhere, or gone."""
    lists = (path.read_bytes() for path in folder.glob("segments/*/id_tracker.deleted"))
    return sum(int.from_bytes(each, "little").bit_count() for each in lists)


def _floats(vector: bytes) -> list[float]:
    return array("f", vector).tolist()


def main(arguments: Sequence[str]) -> None:
    """Run: FOLDER DIMENSIONS INDEX_THREADS NICE OPEN_TIMEOUT_SECONDS WARM_BYTES_MAX."""
    folder, dimensions, index_threads, nice, timeout_seconds, warm_bytes_max = arguments
    os.umask(0o077)
    os.nice(int(nice))
    engine = Engine(Path(folder), int(dimensions), int(index_threads))
    writer = sys.stdout.buffer
    lock(Path(folder), float(timeout_seconds))
    engine.open()
    threading.Thread(target=warm, args=(Path(folder), int(warm_bytes_max)), daemon=True).start()
    write_frame(writer, (0, True, os.getpid()))
    try:
        serve(engine, sys.stdin.buffer, writer)
    except BrokenPipeError:
        pass  # the service died while it was being answered
    finally:
        engine.close()


if __name__ == "__main__":  # pragma: no cover - the tests start it as a process, which coverage does not follow
    main(sys.argv[1:])
