"""Tables of settings, out of the classes that read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from serving.environment import NOT_USED
from serving.settings import Group, seconds

_STEPS = (("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001), ("us", 0.000001))


def groups(module: ModuleType) -> list[type[Group]]:
    """Return the blocks of settings that a module defines, in its order."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Group) and value.__module__ == module.__name__
        if value is not Group
    ]


def heading(group: type[Group]) -> str:
    """Return the heading of a block: the first sentence of what it says of itself, and the rest below it."""
    first, _, rest = " ".join((group.__doc__ or "").split()).partition(". ")
    return f"#### {first.removesuffix('.')}\n" + (f"\n{rest}\n" if rest else "")


def variable(group: type[Group], field: str) -> str:
    """Return the name of a field in the environment."""
    return f"{group.model_config.get('env_prefix') or ''}{field}".upper()


def own_fields(group: type[Group]) -> dict[str, FieldInfo]:
    """Return the fields that a block does not take over from another as they are."""
    taken = {name for base in group.__mro__[1:] if base is not group for name in getattr(base, "model_fields", {})}
    taken -= vars(group).get("__annotations__", {}).keys()
    return {name: info for name, info in group.model_fields.items() if name not in taken}


def is_used(info: FieldInfo) -> bool:
    """Return whether a setting does something, or is only accepted."""
    return not (info.description or "").startswith(NOT_USED)


def table(group: type[Group]) -> str:
    """Return the block as a table, after a sentence where it repeats another under its own prefix."""
    rows = [row(variable(group, name), info) for name, info in own_fields(group).items() if is_used(info)]
    lines = ["| name | takes | default | meaning |", "| --- | --- | --- | --- |", *rows] if rows else []
    if group.__bases__ != (Group,):
        base = group.__bases__[0]
        prefix, repeated = (each.model_config.get("env_prefix", "") for each in (group, base))
        named = f"`{repeated}…`" if repeated else f'"{heading(base).splitlines()[0].removeprefix("#### ")}"'
        but = ", but for:" if rows else "."
        sentence = f"Every name of {named} again as `{prefix}…`, with the same meaning and default{but}"
        lines = [sentence, "", *lines] if lines else [sentence]
    return "\n".join(lines)


def row(name: str, info: FieldInfo) -> str:
    """Return one setting as a row."""
    manual = " ".join((info.description or "").split())
    return "| " + " | ".join(cell(text) for text in (f"`{name}`", takes(info), default(info), manual)) + " |"


def takes(info: FieldInfo) -> str:
    """Say what may be set."""
    kind = info.annotation
    if get_origin(kind) is Literal:
        return " ".join(f"`{choice}`" for choice in get_args(kind))
    bounds = "".join(_bounds(info))
    if is_duration(info):
        return f"duration{bounds}"
    if get_origin(kind) is dict:
        return "`key:value,…`"
    words: dict[Any, str] = {bool: "`true` `false`", int: "integer", float: "number", str: "text", SecretStr: "secret"}
    return words[kind] + bounds


def is_duration(info: FieldInfo) -> bool:
    """Return whether a field reads durations such as `1h30m`."""
    return any(getattr(each, "func", None) is seconds for each in info.metadata)


def default(info: FieldInfo) -> str:
    """Write the default as it would be set; nothing for the empty text."""
    value = info.get_default()
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if is_duration(info):
        text = duration(value)
    elif isinstance(value, (bool, float)):
        text = json.dumps(value).removesuffix(".0")
    else:
        text = str(value) if value or value == 0 else ""
    return f"`{text}`" if text else ""


def duration(value: float) -> str:
    """Write seconds as Go does: `24h`, `1m30s`, `200ms`."""
    parts = []
    left = round(value, 6)
    for unit, step in _STEPS:
        number = int(left / step + 1e-9)
        left = round(left - number * step, 6)
        parts += [f"{number}{unit}"] if number else []
    return "".join(parts) or "0"


def _bounds(info: FieldInfo) -> Iterator[str]:
    for each in info.metadata:
        match each:
            case Ge(bound):
                yield f", at least {bound}"
            case Gt(bound):
                yield f", above {bound}"
            case Le(bound):
                yield f", at most {bound}"
            case Lt(bound):
                yield f", below {bound}"


def cell(text: str) -> str:
    """Return a text as it may stand in a cell of a table."""
    # Outside of code Markdown takes `<` for a tag.
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts).replace("|", r"\|")
