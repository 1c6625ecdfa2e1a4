"""The real model, exported on first use and kept."""

from __future__ import annotations

from pathlib import Path

from semcache.export.default import NAME, ensure

_FOLDER = Path(__file__).parents[2] / ".weir" / "models"


def model_folder(precision: str = "int8") -> Path:
    return ensure(_FOLDER) / f"{NAME}-{precision}"
