"""Reads labelled pairs: JSON lines, or CSV and TSV with a header line."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from semcache.prompt import normalise

# A pair takes some 10 ms to embed and some 5 kB: more than this is an hour and a gigabyte.
PAIRS_MAX = 200_000
_PROMPT, _CANDIDATE = ("prompt", "a", "question1"), ("candidate", "b", "question2")
_FITS = ("fits", "label", "duplicate", "is_duplicate", "is_right")
_YES, _NO = {"1", "1.0", "true", "yes", "right"}, {"0", "0.0", "false", "no", "wrong"}

Rows = Iterator[tuple[int, Mapping[str, object]]]


class LabelsError(Exception):
    """The file cannot be used; the message names file, line and field, and never a prompt."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt, a cached prompt, and whether the cached answer fits."""

    prompt: str = field(repr=False)
    candidate: str = field(repr=False)
    fits: bool
    similarity: float | None
    """As the file gives it; None: to be computed."""


def read(path: Path) -> list[Pair]:
    """Read all pairs of a file.

    Raises:
        LabelsError: it has none, too many, or a line that cannot be read.
    """
    rows = _READERS.get(path.suffix.lower())
    if rows is None:
        raise LabelsError(f"{path}: not .jsonl, .csv or .tsv")
    pairs: list[Pair] = []
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for number, row in rows(lines):
                try:
                    pairs.append(_pair(row))
                except ValueError as error:
                    raise LabelsError(f"{path}:{number}: {error}") from None
                if len(pairs) > PAIRS_MAX:
                    raise LabelsError(f"{path}: more than {PAIRS_MAX} pairs")
    except (OSError, UnicodeError, csv.Error) as error:
        raise LabelsError(f"{path}: {type(error).__name__}: cannot be read") from None
    if not pairs:
        raise LabelsError(f"{path}: no pairs")
    return pairs


def _json_rows(lines: Iterable[str]) -> Rows:
    return ((number, _json_row(line)) for number, line in enumerate(lines, 1) if line.strip())


def _json_row(line: str) -> Mapping[str, object]:
    """Return the object of a line; what is none lacks every field."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return row if isinstance(row, dict) else {}


def _csv_rows(lines: IO[str]) -> Rows:
    reader = csv.DictReader(lines)
    return ((reader.line_num, row) for row in reader)


def _tsv_rows(lines: IO[str]) -> Rows:
    reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return ((reader.line_num, row) for row in reader)


_READERS: dict[str, Callable[[IO[str]], Rows]] = {
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
}


def _pair(row: Mapping[str, object]) -> Pair:
    return Pair(
        normalise(_text(row, _PROMPT)),
        normalise(_text(row, _CANDIDATE)),
        _label(row),
        _similarity(row.get("similarity")),
    )


def _text(row: Mapping[str, object], names: tuple[str, ...]) -> str:
    value = next((row[name] for name in names if name in row), None)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{names[0]}: is missing or no text")
    return value


def _label(row: Mapping[str, object]) -> bool:
    value = str(next((row[name] for name in _FITS if name in row), "")).strip().lower()
    if value not in _YES | _NO:
        raise ValueError(f"{_FITS[0]}: is neither 1 nor 0")
    return value in _YES


def _similarity(value: object) -> float | None:
    if value in (None, ""):
        return None
    try:
        similarity = float(str(value))
    except ValueError:
        similarity = math.nan
    if not -1.0001 <= similarity <= 1.0001:
        raise ValueError("similarity: is no number from -1 to 1")
    return similarity
