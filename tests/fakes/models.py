"""The real model, exported on first use and kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from semcache.export.default import NAME, ensure
from semcache.export.sources import resolve

_FOLDER = Path(__file__).parents[2] / ".weir" / "models"


@cache
def model_folder(precision: str = "int8") -> Path:
    return ensure(_FOLDER) / f"{NAME}-{precision}"


@cache
def source_folder() -> Path:
    """Where the model itself is: for what runs sentence-transformers."""
    kept = _FOLDER.parent / "sources"
    found = list(kept.glob("*/model"))
    return found[0] if found else resolve(NAME, kept)
