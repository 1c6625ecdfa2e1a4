"""Namespaces from YAML: every problem at once, each with its file and line.

    text ──▶ nodes with lines ──▶ plain values, and a line for each place ──▶ Namespace* | Problem*

1. What a namespace may say is declared once, in `namespaces.py`; here its complaints only get their lines.
2. Names that nobody knows, names given twice and bad values are problems. One problem refuses the whole set.
3. `<<` takes over the pairs of an anchor that the map does not give itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from semcache.errors import ConfigError
from semcache.namespaces import Namespace, Namespaces
from semcache.settings import NamespaceSettings
from serving.problems import Problem
from serving.yaml_nodes import Bounds, DocumentError, Items, Node, Pairs, Scalar, compose
from serving.yaml_scalars import TagError, key_text, resolve

Place: TypeAlias = tuple[str | int, ...]

_SUFFIXES = {".yaml", ".yml"}
_TOP = "namespaces"
_SECRETS = {"token_sha256"}
_VALUE_MAX = 60
_WORDS = {"extra_forbidden": "nobody knows this key", "missing": "is missing"}


def load(path: Path, settings: NamespaceSettings) -> Namespaces:
    """Return the namespaces of a file, or of all YAML files in a folder.

    Raises:
        ConfigError: something is wrong with the set; it carries every problem.
    """
    found: list[tuple[Namespace, Problem]] = []
    problems: list[Problem] = []
    try:
        files = list_files(path)
        if len(files) > settings.files_max:
            raise ConfigError.of([Problem(str(path), 0, f"more than {settings.files_max} files")])
        for file in files:
            members, wrong = read(str(file), _content(file, settings), Bounds(settings.values_max, settings.depth_max))
            found += members
            problems += wrong
    except OSError as error:
        problems.append(Problem(str(error.filename or path), 0, f"cannot be read: {error.strerror}"))
    problems += _twice(found)
    if not problems and not found:
        problems.append(Problem(str(path), 0, "has no namespaces"))
    if problems:
        raise ConfigError.of(problems)
    return Namespaces(member for member, _ in found)


def list_files(path: Path) -> Sequence[Path]:
    """Return the file itself, or the YAML files of a folder by name.

    Raises:
        OSError: it is not there.
    """
    if path.is_dir():
        return sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES and not each.name.startswith("."))
    path.stat()
    return [path]


def read(file: str, content: bytes, bounds: Bounds) -> tuple[list[tuple[Namespace, Problem]], list[Problem]]:
    """Return the namespaces of a text, each with where it stands, and what is wrong."""
    try:
        root = compose(content, bounds)
    except DocumentError as error:
        return [], [Problem(file, error.line, str(error))]
    plain = _Plain(file)
    value = plain.value(root, ()) if root is not None else {}
    if not isinstance(value, dict) or not isinstance(value.get(_TOP), list):
        return [], [*plain.problems, Problem(file, 1, f"needs a list under `{_TOP}`")]
    problems = plain.problems
    problems += [
        Problem(file, plain.line((key,)), f"{key}: {_WORDS['extra_forbidden']}") for key in value if key != _TOP
    ]
    members: list[tuple[Namespace, Problem]] = []
    for index, member in enumerate(value[_TOP]):
        place = (_TOP, index)
        try:
            members.append((Namespace.model_validate(member), Problem(file, plain.line(place), "")))
        except ValidationError as error:
            problems += [plain.blame(place, dict(each)) for each in error.errors(include_url=False)]
    return members, sorted(problems, key=lambda problem: problem.line)


class _Plain:
    """Turns nodes into plain values, and remembers the line of each place."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[Place, int] = {}
        self.problems: list[Problem] = []

    def value(self, node: Node, place: Place) -> Any:  # noqa: ANN401 - whatever the file says
        self._lines.setdefault(place, node.line)
        match node:
            case Scalar():
                return self._scalar(node)
            case Items():
                return [self.value(item, (*place, index)) for index, item in enumerate(node.items)]
            case Pairs():
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
        value, is_secret = error["input"], bool(_SECRETS & set(error["loc"]))
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


def _content(file: Path, settings: NamespaceSettings) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(settings.bytes_max + 1)
    if len(content) > settings.bytes_max:
        raise ConfigError.of([Problem(str(file), 0, f"more than {settings.bytes_max} bytes")])
    return content


def _twice(found: Sequence[tuple[Namespace, Problem]]) -> Iterator[Problem]:
    first: dict[str, Problem] = {}
    for member, where in found:
        before = first.setdefault(member.name, where)
        if before is not where:
            yield Problem(where.file, where.line, f"namespace `{member.name}` is also at {before.file}:{before.line}")
