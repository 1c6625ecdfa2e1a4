"""Namespaces from YAML: every problem at once, each with its file and line.

    text ──▶ nodes with lines ──▶ plain values, and a line for each place ──▶ Namespace* | Problem*

1. What a namespace may say is declared once, in `namespaces.py`; here its complaints only get their lines.
2. Names that nobody knows, names given twice and bad values are problems. One problem refuses the whole set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from semcache.errors import ConfigError
from semcache.namespaces import Namespace, Namespaces
from semcache.settings import NamespaceSettings
from serving.problems import Problem
from serving.yaml_models import UNKNOWN_KEY, PlainYaml
from serving.yaml_nodes import Bounds, DocumentError, compose

_SUFFIXES = {".yaml", ".yml"}
_TOP = "namespaces"
_SECRETS = {"token_sha256"}


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
    plain = PlainYaml(file, _SECRETS)
    value = plain.value(root, ()) if root is not None else {}
    if not isinstance(value, dict) or not isinstance(value.get(_TOP), list):
        return [], [*plain.problems, Problem(file, 1, f"needs a list under `{_TOP}`")]
    problems = plain.problems
    problems += [Problem(file, plain.line((key,)), f"{key}: {UNKNOWN_KEY}") for key in value if key != _TOP]
    members: list[tuple[Namespace, Problem]] = []
    for index, member in enumerate(value[_TOP]):
        place = (_TOP, index)
        try:
            members.append((Namespace.model_validate(member), Problem(file, plain.line(place), "")))
        except ValidationError as error:
            problems += [plain.blame(place, dict(each)) for each in error.errors(include_url=False)]
    return members, sorted(problems, key=lambda problem: problem.line)


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
