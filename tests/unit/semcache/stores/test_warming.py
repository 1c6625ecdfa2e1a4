"""Which files of entries are read ahead, and how much of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from semcache.stores.edge.warming import plan, warm

KIB = 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shard with two segments."""
    for name, kibibytes in (("a/payload_storage/page_0", 512), ("a/payload_storage/tracker", 64), ("b/vectors", 128)):
        path = tmp_path / "segments" / f"{name}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * kibibytes * KIB)
    return tmp_path


def names(folder: Path, bytes_max: int) -> list[tuple[str, int]]:
    return [(path.name, size // KIB) for path, size in plan(folder, bytes_max)]


def test_entries_are_read_and_before_them_where_they_are(folder: Path) -> None:
    assert names(folder, 1 << 30) == [("tracker.dat", 64), ("page_0.dat", 512)]


@pytest.mark.parametrize(
    ("kibibytes", "read"),
    [(0, []), (64, [("tracker.dat", 64)]), (100, [("tracker.dat", 64), ("page_0.dat", 36)])],
)
def test_no_more_is_read_than_there_is_room_for(folder: Path, kibibytes: int, read: list[tuple[str, int]]) -> None:
    assert names(folder, kibibytes * KIB) == read


def test_what_was_never_written_of_a_file_is_not_read(folder: Path) -> None:
    with (folder / "segments/a/payload_storage/page_0.dat").open("r+b") as file:
        file.truncate(1 << 30)

    assert names(folder, 1 << 30) == [("tracker.dat", 64), ("page_0.dat", 512)]


def test_a_file_that_has_gone_is_no_failure(folder: Path) -> None:
    (folder / "segments/a/payload_storage/gone.dat").symlink_to("nowhere")

    warm(folder, 1 << 30)

    with pytest.raises(FileNotFoundError):
        names(folder, 1 << 30)
