"""The grammar of rule files: nodes in, a domain's spec and every problem out.

    nodes ──▶ check names (whole tree) ──▶ read fields ──▶ DomainSpec

1. Names are checked everywhere first, wherever they stand; a known name in a place where it
   means nothing is read over, as the reference does. Below `metadata` all names are free.
2. Of two equal names the last is read. `<<` inserts pairs where it stands. A `rate_limit` or
   `metadata` given twice is filled twice, so that a merged one can be completed.
3. What could not be read is left out of the spec, so that it causes no second problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from ratelimit.errors import Problem
from ratelimit.specs import OWN_KEYS, DescriptorSpec, DomainSpec, JsonValue, LimitSpec, Own, Where
from serving.yaml_nodes import Bounds, DocumentError, Items, Node, Pairs, Scalar, compose
from serving.yaml_scalars import TagError, Value, key_text, kind, resolve

NAMES = frozenset(
    {
        *("domain", "descriptors", "key", "value", "rate_limit", "metadata"),
        *("unit", "requests_per_unit", "unlimited", "name", "replaces"),
        *("shadow_mode", "quota_mode", "detailed_metric", "value_to_metric", "share_threshold"),
        "hash_tag",
        *OWN_KEYS,
    }
)
# What stands below them is theirs: free names, or read elsewhere.
_CLOSED = frozenset({"metadata", "hash_tag", *OWN_KEYS})
REQUESTS_MAX = 2**32 - 1
# An integer that needs more is no number of the configuration language at all.
_INTEGER_MAX = 2**63 - 1


def read(file: str, content: bytes, bounds: Bounds) -> tuple[DomainSpec | None, list[Problem]]:
    """Return what a file says, as far as it can be read, and what is wrong with it."""
    reader = _Reader(file)
    try:
        root = compose(content, bounds)
    except DocumentError as error:
        return None, [Problem(file, error.line, f"error loading config file: {error}")]
    spec = reader.domain(root)
    # One anchor may be used in many places: its problem is one.
    return spec, list(dict.fromkeys(reader.problems))


class _Reader:
    """Reads one file."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._checked: set[int] = set()
        self._blamed: set[int] = set()
        self.problems: list[Problem] = []

    def domain(self, root: Node | None) -> DomainSpec | None:
        if root is None or self._is_null(root):
            return DomainSpec(Where(self._file, 1), "")
        if not isinstance(root, Pairs):
            self._refuse(root, "a map")
            return None
        self._check(root)
        before = len(self.problems)
        fields = self._fields(root)
        name = self._text(fields, "domain")
        if len(self.problems) > before:
            return None
        line = fields["domain"][-1].line if "domain" in fields else root.line
        self._misplaced(fields, OWN_KEYS, "it belongs into a rate_limit")
        return DomainSpec(Where(self._file, line), name, self._descriptors(fields), self._hash_tag(fields))

    # -- names ---------------------------------------------------------------------------------

    def _check(self, node: Node) -> None:
        if id(node) in self._checked:
            return
        self._checked.add(id(node))
        match node:
            case Pairs():
                for key, value in self._pairs(node):
                    self._check_pair(key, value)
            case Items():
                for item in node.items:
                    self._check_item(item)
            case _:
                self._check_leaf(node)

    def _check_pair(self, key: Scalar, value: Node) -> None:
        name = self._resolve(key)
        if not isinstance(name, str):
            self._blame(key, f"config error, key is not of type string: {key_text(name)}")
        elif name not in NAMES:
            self._blame(key, f"config error, unknown key '{name}'")
        elif name not in _CLOSED:
            self._check(value)

    def _check_item(self, item: Node) -> None:
        if isinstance(item, Pairs):
            self._check(item)
        else:
            text = f"[{len(item.items)} items]" if isinstance(item, Items) else key_text(self._resolve(item))
            self._blame(item, f"config error, yaml file contains list of type other than map: {text}")

    def _check_leaf(self, leaf: Scalar) -> None:
        value = self._resolve(leaf)
        if isinstance(value, float) or (isinstance(value, int) and value > _INTEGER_MAX):
            self._blame(leaf, f"error checking config: `{leaf.text}` is neither text, nor an integer, nor a boolean")

    # -- fields --------------------------------------------------------------------------------

    def _pairs(self, node: Pairs) -> Iterator[tuple[Scalar, Node]]:
        for key, value in node.pairs:
            if not isinstance(key, Scalar):
                self._blame(key, "error loading config file: a list or a map cannot be a key")
            elif key.text == "<<" and (key.is_plain or (key.tag or "").endswith(":merge")):
                yield from self._merged(value)
            else:
                yield key, value

    def _merged(self, value: Node) -> Iterator[tuple[Scalar, Node]]:
        # From the last to the first: the earlier of two merged maps wins.
        for source in reversed(value.items) if isinstance(value, Items) else [value]:
            if isinstance(source, Pairs):
                yield from self._pairs(source)
            else:
                self._blame(
                    source, "error loading config file: map merge requires map or sequence of maps as the value"
                )

    def _fields(self, *maps: Pairs) -> dict[str, list[Node]]:
        fields: dict[str, list[Node]] = {}
        for node in maps:
            for key, value in self._pairs(node):
                fields.setdefault(key.text, []).append(value)
        return fields

    def _descriptors(self, fields: dict[str, list[Node]]) -> tuple[DescriptorSpec, ...]:
        found = (self._descriptor(item) for item in self._items(fields, "descriptors"))
        return tuple(spec for spec in found if spec is not None)

    def _descriptor(self, node: Pairs) -> DescriptorSpec | None:
        fields = self._fields(node)
        self._misplaced(fields, OWN_KEYS, "it belongs into the rate_limit of this descriptor")
        self._misplaced(fields, {"hash_tag"}, "it belongs beside the domain")
        before = len(self.problems)
        key, value = self._text(fields, "key"), self._text(fields, "value")
        is_named = len(self.problems) == before
        spec = DescriptorSpec(
            where=Where(self._file, node.line),
            key=key,
            value=value,
            shadow_mode=self._flag(fields, "shadow_mode"),
            quota_mode=self._flag(fields, "quota_mode"),
            detailed_metric=self._flag(fields, "detailed_metric"),
            value_to_metric=self._flag(fields, "value_to_metric"),
            share_threshold=self._flag(fields, "share_threshold"),
            metadata=self._metadata(fields),
            rate_limit=self._limit(fields),
            descriptors=self._descriptors(fields),
        )
        return spec if is_named else None

    def _limit(self, fields: dict[str, list[Node]]) -> LimitSpec | None:
        before = len(self.problems)
        maps = self._maps(fields, "rate_limit")
        if not maps:
            return None
        inner = self._fields(*maps)
        spec = LimitSpec(
            where=Where(self._file, maps[-1].line),
            unit=self._text(inner, "unit"),
            requests_per_unit=self._number(inner, "requests_per_unit"),
            unlimited=self._flag(inner, "unlimited"),
            name=self._text(inner, "name"),
            replaces=tuple(self._text(self._fields(item), "name") for item in self._items(inner, "replaces")),
            own={key: self._own(nodes[-1]) for key, nodes in inner.items() if key in OWN_KEYS},
        )
        return spec if len(self.problems) == before else None

    def _own(self, node: Node) -> Own:
        return Own(Where(self._file, node.line), self._json(node))

    def _hash_tag(self, fields: dict[str, list[Node]]) -> tuple[str, ...]:
        for node in fields.get("hash_tag", ()):
            value = self._json(node)
            if isinstance(value, list) and value and all(isinstance(key, str) and key for key in value):
                return tuple(str(key) for key in value)
            self._blame(node, "hash_tag: a list of the keys of leading entries is wanted, such as [tenant]")
        return ()

    def _misplaced(self, fields: dict[str, list[Node]], keys: AbstractSet[str], message: str) -> None:
        for key in fields.keys() & keys:
            self._blame(fields[key][-1], f"config error, {key}: {message}")

    # -- values --------------------------------------------------------------------------------

    def _text(self, fields: dict[str, list[Node]], name: str) -> str:
        text = ""
        for node in fields.get(name, ()):
            value = self._scalar(node, "text")
            text = value.decode(errors="replace") if isinstance(value, bytes) else _written(node, value)
        return text

    def _flag(self, fields: dict[str, list[Node]], name: str) -> bool:
        flag = False
        for node in fields.get(name, ()):
            value = self._scalar(node, "a boolean")
            flag = value is True
            if not isinstance(value, bool | None):
                self._refuse(node, "a boolean")
        return flag

    def _number(self, fields: dict[str, list[Node]], name: str) -> int:
        number = 0
        for node in fields.get(name, ()):
            value = self._scalar(node, "an integer")
            is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= REQUESTS_MAX
            number = value if is_number and isinstance(value, int) else 0
            if not is_number and value is not None:
                self._refuse(node, f"an integer from 0 to {REQUESTS_MAX}")
        return number

    def _items(self, fields: dict[str, list[Node]], name: str) -> list[Pairs]:
        items: list[Pairs] = []
        for node in fields.get(name, ()):
            if isinstance(node, Items):
                items = [item for item in node.items if isinstance(item, Pairs)]
            elif self._is_null(node):
                items = []
            else:
                self._refuse(node, "a list")
        return items

    def _maps(self, fields: dict[str, list[Node]], name: str) -> list[Pairs]:
        maps: list[Pairs] = []
        for node in fields.get(name, ()):
            if isinstance(node, Pairs):
                maps.append(node)
            elif self._is_null(node):
                maps = []
            else:
                self._refuse(node, "a map")
        return maps

    def _metadata(self, fields: dict[str, list[Node]]) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {}
        for node in self._maps(fields, "metadata"):
            found |= {key.text: self._json(value) for key, value in self._pairs(node)}
        return found

    def _json(self, node: Node) -> JsonValue:
        match node:
            case Items():
                return [self._json(item) for item in node.items]
            case Pairs():
                return {key_text(self._resolve(key)): self._json(value) for key, value in self._pairs(node)}
            case _:
                return self._json_leaf(node)

    def _json_leaf(self, leaf: Scalar) -> JsonValue:
        value = self._resolve(leaf)
        if not isinstance(value, bytes):
            return value
        try:
            return value.decode()
        except UnicodeDecodeError:
            self._blame(leaf, "error parsing metadata: !!binary value is not UTF-8 text")
            return None

    def _scalar(self, node: Node, wanted: str) -> Value:
        if isinstance(node, Scalar):
            return self._resolve(node)
        self._refuse(node, wanted)
        return None

    def _resolve(self, node: Scalar) -> Value:
        try:
            return resolve(node.tag, node.text, is_plain=node.is_plain)
        except TagError as error:
            self._blame(node, f"error loading config file: {error}")
            return None

    def _is_null(self, node: Node) -> bool:
        return isinstance(node, Scalar) and self._resolve(node) is None

    # -- blame ---------------------------------------------------------------------------------

    def _refuse(self, node: Node, wanted: str) -> None:
        match node:
            case Scalar():
                found = f"{kind(self._resolve(node))} `{node.text}`"
            case Items():
                found = "a list"
            case _:
                found = "a map"
        self._blame(node, f"error loading config file: cannot use {found} as {wanted}")

    def _blame(self, node: Node, message: str) -> None:
        if id(node) not in self._blamed:
            self._blamed.add(id(node))
            self.problems.append(Problem(self._file, node.line, message))


def _written(node: Node, value: Value) -> str:
    return node.text if isinstance(node, Scalar) and value is not None else ""
