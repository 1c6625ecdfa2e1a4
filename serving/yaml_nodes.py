"""YAML text to nodes with line numbers, in bounded time and memory.

    text ──▶ events (libyaml) ──▶ nodes        first document only

1. An alias is the node of its anchor, counted again: what a document would be if written out is
   bounded, not what it weighs on disk (ten lines of aliases can stand for a billion nodes).
2. An anchor that contains itself is refused; one that is given twice means the last one.
3. Parsing stops at the first thing that breaks a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

# libyaml is some 20 times faster, and the reference's parser descends from it; the rest are platforms without it.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A single value, not yet interpreted."""

    line: int
    tag: str | None
    text: str
    is_plain: bool
    size: int = 1
    height: int = 1


@dataclass(slots=True, eq=False)
class Items:
    """A list."""

    line: int
    items: list[Node]
    size: int = 1
    height: int = 1


@dataclass(slots=True, eq=False)
class Pairs:
    """A map: every pair as written, also those whose keys are equal."""

    line: int
    pairs: list[tuple[Node, Node]]
    size: int = 1
    height: int = 1


Node: TypeAlias = Scalar | Items | Pairs


class DocumentError(Exception):
    """The text is no YAML, or breaks a bound."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a document may hold."""

    nodes_max: int
    """Written out, aliases and all."""
    depth_max: int


def compose(content: bytes, bounds: Bounds) -> Node | None:
    """Return the first document of a text, or None if there is none.

    Raises:
        DocumentError: it is not YAML, or too large.
    """
    parser = _Parser(content) if content else None
    try:
        return _Composer(parser, bounds).document() if parser else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(_sentence(error), mark.line + 1 if mark else 0) from None
    except yaml.YAMLError as error:
        raise DocumentError(str(getattr(error, "reason", error)), _line_of(error, content)) from None
    finally:
        if parser:
            parser.dispose()


def _sentence(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (error.context, error.problem) if part)


def _line_of(error: yaml.YAMLError, content: bytes) -> int:
    position = getattr(error, "position", None)
    return content[:position].count(b"\n") + 1 if isinstance(position, int) else 0


class _Composer:
    """Builds nodes from events with a stack of its own: no depth of input is a depth of calls."""

    def __init__(self, parser: Any, bounds: Bounds) -> None:  # noqa: ANN401 - one of two parser classes
        self._parser = parser
        self._bounds = bounds
        self._anchors: dict[str, Node] = {}
        self._open: list[tuple[Items | Pairs, list[Node]]] = []
        self._root: Node | None = None
        self._size = 0

    def document(self) -> Node | None:
        while not isinstance(event := self._parser.get_event(), yaml.DocumentEndEvent | yaml.StreamEndEvent):
            self._take(event)
        return self._root

    def _take(self, event: Any) -> None:  # noqa: ANN401 - the stubs do not tell that every event has a mark
        line = event.start_mark.line + 1
        match event:
            case yaml.AliasEvent():
                self._put(self._aliased(event.anchor, line), line)
            case yaml.ScalarEvent():
                scalar = Scalar(line, event.tag, event.value, event.implicit[0])
                self._name(event.anchor, scalar)
                self._put(scalar, line)
            case yaml.SequenceStartEvent():
                self._enter(Items(line, []), event.anchor)
            case yaml.MappingStartEvent():
                self._enter(Pairs(line, []), event.anchor)
            case yaml.CollectionEndEvent():
                self._leave()

    def _aliased(self, anchor: str | None, line: int) -> Node:
        node = self._anchors.get(anchor or "")
        if node is None:
            raise DocumentError(f"unknown anchor '{anchor}' referenced", line)
        if any(node is collection for collection, _ in self._open):
            raise DocumentError(f"anchor '{anchor}' value contains itself", line)
        return node

    def _name(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _enter(self, node: Items | Pairs, anchor: str | None) -> None:
        self._name(anchor, node)
        self._open.append((node, []))
        self._check_depth(1, node.line)

    def _leave(self) -> None:
        node, children = self._open.pop()
        if isinstance(node, Items):
            node.items = children
        else:
            node.pairs = list(zip(children[::2], children[1::2], strict=True))
        node.size += sum(child.size for child in children)
        node.height += max((child.height for child in children), default=0)
        self._put(node, node.line, size=1)

    def _put(self, node: Node, line: int, *, size: int | None = None) -> None:
        self._size += node.size if size is None else size
        if self._size > self._bounds.nodes_max:
            raise DocumentError(f"more than {self._bounds.nodes_max} values, aliases written out", line)
        self._check_depth(node.height, line)
        if self._open:
            self._open[-1][1].append(node)
        else:
            self._root = node

    def _check_depth(self, height: int, line: int) -> None:
        if len(self._open) + height > self._bounds.depth_max:
            raise DocumentError(f"nested more than {self._bounds.depth_max} deep", line)
