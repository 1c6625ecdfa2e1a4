"""Records of entries beside their shard, so that an entry that is used stays in the index.

    amend ── same state, worth not less ──▶ records.sqlite          anything else ──▶ the entry's payload
    get, nearest, scan, fetch ◀── the payload, with the record from here where there is one
    evict ── in the order of the payloads' worth ──▶ not here: it goes · here: its payload is brought up to date first

1. Qdrant moves a point whose payload changes, whatever the field, to the segment that has no index: 6,000 entries that
   were used made a search of 100,000 four times as long (0.34 to 1.5 ms).
2. Worth here is never below that in the payload. So of the `limit` lowest payloads those that are not here are among
   the `limit` that are worth least.
3. The state is the payload's alone: searches go by it.
4. An entry that is replaced or removed loses its record here. The next index begins with none: what is copied to it
   has its record in its payload.
5. As long as there are few, all of them are in memory too, and reading asks nobody: right after an inference, when nothing of
   SQLite is in the caches any more, its answer took half as long again as the entry itself.
6. SQLite's log is written over to the file by a thread: that waits for the disk, 12 ms every fifty writes, and no search
   has to. Between two times the log grows by what so many writes hold, some megabytes.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

Row: TypeAlias = tuple[UUID, Sequence[float], float]
"""Id, the payload's `record` without its state, and worth."""
Kept: TypeAlias = tuple[Sequence[float], float]
"""The same without the id."""

# Ids in one statement; SQLite's own bound on parameters is 999 in old versions.
_IDS_MAX = 500
# Records that are in memory too: 11 MB. With more, none are, until the next index begins with none.
_KEPT_MAX = 32_768
# Writes between two times that the log is written over: as many pages as SQLite itself would wait for.
_WRITES_BETWEEN = 64


class Records:
    """One file; what it has answered survives the death of its process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")
        self._file.execute("PRAGMA wal_autocheckpoint=0")
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS records (id BLOB PRIMARY KEY, hits INT, right INT, wrong INT, used_at REAL,"
            " worth REAL) WITHOUT ROWID"
        )
        self._kept = self._read_all()
        self._writes = 0
        self._tidying: threading.Thread | None = None

    def put(self, rows: Sequence[Row]) -> None:
        """Keep records, in place of those that are here."""
        if rows:
            made = [(one.bytes, *numbers, worth) for one, numbers, worth in rows]
            with self._file:
                self._file.execute("BEGIN")
                self._file.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", made)
            if self._kept is not None:
                self._kept |= {str(one): (numbers, worth) for one, numbers, worth in rows}
                if len(self._kept) > _KEPT_MAX:
                    self._kept = None
            self._wrote()

    def of(self, ids: Sequence[UUID]) -> Mapping[UUID, Row]:
        """Return the records that are here."""
        found = self._find([str(one) for one in ids])
        return {UUID(one): (UUID(one), numbers, worth) for one, (numbers, worth) in found.items()}

    def drop(self, ids: Iterable[UUID]) -> None:
        """Forget records."""
        for part in _parts([one for one in ids if self._kept is None or str(one) in self._kept]):
            self._file.execute(f"DELETE FROM records WHERE id IN ({_marks(part)})", part)  # noqa: S608 - question marks
            if self._kept is not None:
                for one in part:
                    self._kept.pop(str(UUID(bytes=one)), None)
            self._wrote()

    def merge(self, payloads: Mapping[str, dict[str, Any]]) -> None:
        """Put what is here into payloads, which are named by their ids."""
        for one, (numbers, worth) in self._find(payloads).items():
            payload = payloads[one]
            payload |= {"record": [payload["record"][0], *numbers]}
            if "worth" in payload:
                payload["worth"] = worth

    def _find(self, ids: Collection[str]) -> Mapping[str, Kept]:
        if self._kept is not None:
            return {one: self._kept[one] for one in ids if one in self._kept}
        found = {}
        for part in _parts([UUID(one) for one in ids]):
            query = f"SELECT * FROM records WHERE id IN ({_marks(part)})"  # noqa: S608 - as above
            for one, *numbers, worth in self._file.execute(query, part):
                found[str(UUID(bytes=one))] = (numbers, worth)
        return found

    def _read_all(self) -> dict[str, Kept] | None:
        rows = self._file.execute(f"SELECT * FROM records LIMIT {_KEPT_MAX + 1}").fetchall()  # noqa: S608 - a number
        if len(rows) > _KEPT_MAX:
            return None
        return {str(UUID(bytes=one)): (numbers, worth) for one, *numbers, worth in rows}

    def close(self) -> None:
        """Let the file go."""
        if self._tidying is not None:
            self._tidying.join()
        self._file.close()

    def _wrote(self) -> None:
        self._writes += 1
        if self._writes >= _WRITES_BETWEEN and (self._tidying is None or not self._tidying.is_alive()):
            self._writes = 0
            self._tidying = threading.Thread(target=_tidy, args=(self._path,), daemon=True)
            self._tidying.start()


def _tidy(path: Path) -> None:
    """Write the log over to the file; whoever reads or writes meanwhile is not held up."""
    # What does not succeed is tried again after as many writes.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _parts(ids: Sequence[UUID]) -> Iterable[list[bytes]]:
    return ([one.bytes for one in ids[start : start + _IDS_MAX]] for start in range(0, len(ids), _IDS_MAX))


def _marks(part: Sequence[object]) -> str:
    return ",".join("?" * len(part))
