"""Whether a folder holds text of what was removed or replaced, and since when: a file without content, by its own time.

It is there before anything is removed: a kill in between must not leave text that nobody knows of. The next generation is
a folder without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

_MARK = "removed"


class Remains:
    """The mark of one folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _MARK
        self._is_marked = self._path.exists()

    @property
    def since(self) -> float | None:
        """Unix time of the first removal; None: there was none."""
        return self._path.stat().st_mtime if self._is_marked else None

    def note(self, shard: Any, ids: Sequence[UUID], following: Mapping[UUID, str]) -> None:  # noqa: ANN401 - of an untyped extension
        """Mark the folder, unless the shard has none of these, or what follows each is the same document."""
        if self._is_marked:
            return
        stored = shard.retrieve(ids, ["doc"], False)
        if any(each.payload["doc"] != following.get(UUID(str(each.id))) for each in stored):
            self._path.touch(mode=0o600)
            self._is_marked = True
