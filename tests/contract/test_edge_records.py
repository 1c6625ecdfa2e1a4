"""What was noted of entries, beside their shard: in memory and in a file, the same in both."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from semcache.entry import Record
from semcache.stores.edge.records import Records
from tests.fakes.entries import NOW
from tests.fakes.wide_store import ids, opened, rows


async def test_the_log_of_records_is_written_over_to_their_file_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    records = Records(path)
    before = path.stat().st_size
    used = [(uuid4(), [number, 0, 0, NOW], NOW) for number in range(70)]

    for each in used:
        records.put([each])
    async with asyncio.timeout(30):
        while path.stat().st_size == before:  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)

    assert records.of([one for one, _, _ in used]) == {each[0]: each for each in used}
    records.close()


@pytest.mark.parametrize("in_memory", [2, 3, 100], ids=["too many for memory", "too many once", "in memory"])
def test_records_are_the_same_whether_they_are_in_memory_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr("semcache.stores.edge.records._KEPT_MAX", in_memory)
    used = [(uuid4(), [number, 0, 0, NOW], NOW + number) for number in range(6)]
    names = [str(one) for one, _, _ in used]

    def payloads() -> dict[str, dict[str, object]]:
        return {one: {"record": [0, 9, 9, 9, NOW], "worth": 0.0} for one in names}

    records = Records(tmp_path / "records.sqlite")
    records.put(used[:3])
    records.put(used[3:5])
    records.put([(used[0][0], [7, 1, 0, NOW], NOW + 7)])
    records.drop([used[1][0], used[1][0], used[5][0]])
    first, kept = payloads(), records.of([one for one, _, _ in used])
    records.merge(first)
    records.close()

    again = payloads()
    records = Records(tmp_path / "records.sqlite")
    records.merge(again)
    records.close()

    changed = [(used[0][0], [7, 1, 0, NOW], NOW + 7), *used[2:5]]
    assert kept == {each[0]: each for each in changed}
    expected = payloads() | {str(one): {"record": [0, *numbers], "worth": worth} for one, numbers, worth in changed}
    assert (first, again) == (expected, expected)


async def test_records_outlive_a_kill(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as store:
        await store.add(rows(1))
        await store.amend({ids(1)[0]: Record(hits=3, used_at=NOW)})
        os.kill(store.shard.pid, signal.SIGKILL)

    async with opened(tmp_path / "s") as store:
        (read,) = await store.get(ids(1), NOW)
        assert read is not None
        assert read.record.hits == 3
