"""Rules from files: every file under the app directory, read as one unit."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ratelimit import tree
from ratelimit.config import grammar
from ratelimit.errors import ConfigError, Problem
from ratelimit.rules import Show, plainly
from ratelimit.settings import ConfigSettings
from ratelimit.specs import DomainSpec
from serving.yaml_nodes import Bounds

# Kubernetes writes a mounted ConfigMap into `..<time>/`, and links `..data` to it and every file through `..data`:
# with these names every rule would be there twice.
ATOMIC_WRITER = ".."


@dataclass(frozen=True, slots=True)
class FileBounds:
    """How much rule files may hold."""

    files_max: int
    bytes_max: int
    document: Bounds

    @classmethod
    def of(cls, settings: ConfigSettings) -> FileBounds:
        """Take the bounds from settings."""
        document = Bounds(settings.config_nodes_max, settings.config_depth_max)
        return cls(settings.config_files_max, settings.config_bytes_max, document)


def read_files(
    directory: Path, *, ignore_dotfiles: bool, merge: bool, bounds: FileBounds | None = None, show: Show = plainly
) -> list[DomainSpec]:
    """Return the domains of all files, in the order of the files' names; `show` as in `tree.build`.

    Raises:
        ConfigError: some file cannot be read; it carries these problems, and those that `merge` decides on.
    """
    bounds = bounds or FileBounds.of(ConfigSettings())
    specs: list[DomainSpec] = []
    problems: list[Problem] = []
    for path in list_files(directory, ignore_dotfiles=ignore_dotfiles, files_max=bounds.files_max).files:
        content, trouble = _content(path, bounds)
        spec, found = grammar.read(str(path), content, bounds.document) if not trouble else (None, trouble)
        problems += found
        specs += [spec] if spec else []
        bounds = FileBounds(bounds.files_max, bounds.bytes_max - len(content), bounds.document)
    if problems:
        raise ConfigError(ordered([*problems, *tree.problems(specs, merge=merge, show=show)]))
    return specs


def check(directory: Path, *, merge: bool, ignore_dotfiles: bool = False) -> list[Problem]:
    """Return everything that is wrong with the rule files of a directory."""
    try:
        tree.build(read_files(directory, ignore_dotfiles=ignore_dotfiles, merge=merge), merge=merge)
    except ConfigError as error:
        return list(error.problems)
    return []


def ordered(problems: Sequence[Problem]) -> list[Problem]:
    """Sort problems by place, those of one file together."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line))


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies below a directory, sorted by name."""

    files: tuple[Path, ...]
    folders: tuple[Path, ...]


def list_files(directory: Path, *, ignore_dotfiles: bool, files_max: int) -> Listing:
    """Return all regular files and all folders below a directory; links are followed.

    Raises:
        ConfigError: there is no such directory, it cannot be read, or there is more in it than allowed.
    """
    if not directory.is_dir():
        raise ConfigError([Problem(str(directory), 0, "no such directory")])
    walk = _Walk("." if ignore_dotfiles else ATOMIC_WRITER, files_max)
    try:
        walk.enter(directory, frozenset())
    except OSError as error:
        raise ConfigError([Problem(str(error.filename), 0, f"cannot be read: {error.strerror}")]) from None
    return Listing(tuple(sorted(walk.files, key=str)), tuple(sorted(walk.folders, key=str)))


class _Walk:
    """Collects files and folders."""

    def __init__(self, hidden: str, most: int) -> None:
        self.files: list[Path] = []
        self.folders: list[Path] = []
        self._hidden = hidden
        self._most = most

    def enter(self, directory: Path, above: frozenset[str]) -> None:
        real = os.path.realpath(directory)
        # A link to a folder above would be followed for ever.
        if real in above:
            return
        self.folders.append(directory)
        self._count(directory)
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith(self._hidden):
                    self._take(entry, above | {real})

    def _take(self, entry: os.DirEntry[str], above: frozenset[str]) -> None:
        if entry.is_dir():
            self.enter(Path(entry.path), above)
        # A pipe or a device would be waited for; a link that leads nowhere is a problem to be named.
        elif entry.is_file() or entry.is_symlink():
            self.files.append(Path(entry.path))
            self._count(Path(entry.path))

    def _count(self, path: Path) -> None:
        if len(self.files) + len(self.folders) > self._most:
            raise ConfigError([Problem(str(path), 0, f"more than {self._most} files and folders (CONFIG_FILES_MAX)")])


def _content(path: Path, bounds: FileBounds) -> tuple[bytes, list[Problem]]:
    try:
        with open(path, "rb", opener=_open_now) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return b"", [Problem(str(path), 0, "error loading config file: not a regular file")]
            content = file.read(bounds.bytes_max + 1)
    except OSError as error:
        return b"", [Problem(str(path), 0, f"error loading config file: {error.strerror}")]
    if len(content) > bounds.bytes_max:
        return b"", [
            Problem(str(path), 0, "error loading config file: more than CONFIG_BYTES_MAX in all files together")
        ]
    return content, []


def _open_now(path: str, flags: int) -> int:
    # What was a file when it was listed may be a pipe now: opening must not wait for a writer.
    return os.open(path, flags | os.O_NONBLOCK)
