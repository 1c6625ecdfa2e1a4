"""All of a log is forced to the disk, also where a file of it is given another name meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from semcache.stores.edge.log import force_log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shard whose log has two files."""
    (tmp_path / "wal").mkdir()
    for name in ("closed-7", "open-2"):
        (tmp_path / "wal" / name).write_bytes(b"x")
    return tmp_path


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Inodes of what is forced to the disk."""
    numbers: list[int] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        numbers.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return numbers


def inodes(log: Path) -> set[int]:
    return {path.stat().st_ino for path in (log, *log.iterdir())}


def test_every_file_is_forced_and_what_their_folder_says_of_them(folder: Path, forced: list[int]) -> None:
    force_log(folder)

    assert set(forced) == inodes(folder / "wal")


def test_a_file_that_is_given_another_name_meanwhile_is_forced_too(
    folder: Path, forced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def renaming(descriptor: int) -> None:
        if (folder / "wal/open-2").exists():
            (folder / "wal/open-2").rename(folder / "wal/closed-9")
            (folder / "wal/open-3").write_bytes(b"y")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", renaming)
    force_log(folder)

    assert inodes(folder / "wal") <= set(forced)


def test_a_log_that_is_never_twice_the_same_is_not_said_to_be_forced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adding(descriptor: int) -> None:
        (folder / "wal" / f"open-{len(list((folder / 'wal').iterdir())) + descriptor}").touch()

    monkeypatch.setattr(os, "fsync", adding)

    with pytest.raises(OSError, match="change too fast"):
        force_log(folder)


def test_a_folder_that_has_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="wal"):
        force_log(tmp_path)
