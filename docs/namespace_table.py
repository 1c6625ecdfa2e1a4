"""The keys of a namespace, out of the class that reads them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.settings_tables import cell, default, is_duration


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield a row for each key, those of blocks inside by their path."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        block = _block(info)
        if block is None or info.description:
            manual = " ".join((info.description or "").split())
            yield "| " + " | ".join(cell(text) for text in (f"`{path}`", _shown(info), manual)) + " |"
        if block is not None and not _is_told(model, block):
            yield from rows(block, f"{path}.")


def _block(info: FieldInfo) -> type[BaseModel] | None:
    kinds = [info.annotation, *get_args(info.annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _is_told(model: type[BaseModel], block: type[BaseModel]) -> bool:
    # A namespace has the keys of its shadow itself.
    return issubclass(model, block)


def _shown(info: FieldInfo) -> str:
    value: Any = info.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, (frozenset, tuple)):
        words = sorted(str(each.value if isinstance(each, Enum) else each) for each in value)
        return f"`[{', '.join(words)}]`"
    return default(info) if value is not None or is_duration(info) else ""
