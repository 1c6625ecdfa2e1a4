"""Between YAML with its lines and pydantic's models: plain values in, complaints with file and line out.

    text ──▶ nodes with lines ──▶ plain values, and a line for each place ──▶ model | Problem*

1. What a file may say is declared once, in a model; here its complaints only get their lines.
2. Names given twice and values that are none are problems.
3. `<<` takes over the pairs of an anchor that the map does not give itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

from serving.problems import Problem
from serving.yaml_nodes import Items, Node, Pairs, Scalar
from serving.yaml_scalars import TagError, key_text, resolve

Place: TypeAlias = tuple[str | int, ...]

UNKNOWN_KEY = "nobody knows this key"
_VALUE_MAX = 60
_WORDS = {"extra_forbidden": UNKNOWN_KEY, "missing": "is missing"}


class PlainYaml:
    """Turns nodes into plain values, and remembers the line of each place."""

    def __init__(self, file: str, secrets: AbstractSet[str] = frozenset()) -> None:
        self._file = file
        self._secrets = secrets
        self._lines: dict[Place, int] = {}
        self.problems: list[Problem] = []

    def value(self, node: Node, place: Place) -> Any:  # noqa: ANN401 - whatever the file says
        """Return the plain value of a node."""
        self._lines.setdefault(place, node.line)
        match node:
            case Scalar():
                return self._scalar(node)
            case Items():
                return [self.value(item, (*place, index)) for index, item in enumerate(node.items)]
            case _:
                return self._map(node, place)

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest that is there around it."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 1)

    def blame(self, place: Place, error: Mapping[str, Any]) -> Problem:
        """Return pydantic's complaint with its line."""
        within = (*place, *error["loc"])
        message = _WORDS.get(error["type"], error["msg"].removeprefix("Value error, "))
        value, is_secret = error["input"], bool(self._secrets & set(error["loc"]))
        if isinstance(value, str | int | float) and not is_secret and error["type"] not in _WORDS:
            message += f" (is {str(value)[:_VALUE_MAX]!r})"
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in within).lstrip(".")
        return Problem(self._file, self.line(within), f"{name}: {message}")

    def _scalar(self, node: Scalar) -> object:
        try:
            return resolve(node.tag, node.text, is_plain=node.is_plain)
        except TagError as error:
            self.problems.append(Problem(self._file, node.line, str(error)))
            return None

    def _map(self, node: Pairs, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.pairs:
            name = key_text(resolve(key.tag, key.text, is_plain=key.is_plain)) if isinstance(key, Scalar) else ""
            if name == "<<":
                continue
            if name in found or not name:
                self.problems.append(
                    Problem(self._file, key.line, f"key `{name}` is given twice" if name else "no key")
                )
                continue
            self._lines[*place, name] = key.line
            found[name] = self.value(value, (*place, name))
        for merged in _merged(node):
            found = self._map(merged, place) | found
        return found


def _merged(node: Pairs) -> Iterator[Pairs]:
    for key, value in node.pairs:
        if isinstance(key, Scalar) and key.text == "<<":
            yield from (
                each for each in (value.items if isinstance(value, Items) else [value]) if isinstance(each, Pairs)
            )
