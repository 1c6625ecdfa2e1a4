"""Config files of a running server; they are moved into place, never written in place."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

SUBDIRECTORY = "ratelimit"
APPDIRECTORY = "config"


class Folder:
    """A folder that a server reads its rules from."""

    def __init__(self, folder: Path, staging: Path) -> None:
        self.path = folder
        self._staging = staging

    def write(self, files: Mapping[str, str]) -> None:
        _move_in(self.path, files, self._staging)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self.path / name).unlink()


class Tree(Folder):
    """`<base>/current`, a symbolic link to `<base>/tree-<n>`, which holds `ratelimit/config`."""

    def __init__(self, base: Path) -> None:
        self.root = base / "current"
        self._base = base
        self._number = 0
        super().__init__(self.root / SUBDIRECTORY / APPDIRECTORY, base / "staging")

    def start(self) -> None:
        self._staging.mkdir(parents=True)
        (self._tree() / SUBDIRECTORY / APPDIRECTORY).mkdir(parents=True)
        self.root.symlink_to(self._tree())

    def swap(self, files: Mapping[str, str], gone: Iterable[str]) -> None:
        old = self._tree()
        self._number += 1
        new = self._tree()
        shutil.copytree(old, new)
        folder = new / SUBDIRECTORY / APPDIRECTORY
        _move_in(folder, files, self._staging)
        for name in gone:
            (folder / name).unlink()
        link = self._staging / "link"
        link.symlink_to(new)
        link.replace(self.root)

    def _tree(self) -> Path:
        return self._base / f"tree-{self._number}"


def _move_in(folder: Path, files: Mapping[str, str], staging: Path) -> None:
    staging.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        staged = staging / Path(name).name
        staged.write_text(text, encoding="utf-8")
        staged.replace(folder / name)
