"""Labelled pairs from a path, the answer classes that they imply, and folds that part no class."""

import csv
import gzip
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from semcache.prompt import normalise


class Pair(NamedTuple):
    """Two prompts, and whether one answer serves both."""

    a: str
    b: str
    is_same: bool


@dataclass(frozen=True, slots=True)
class Corpus:
    """Distinct prompts in the order of the file, their classes, and the labelled pairs as positions."""

    texts: list[str]
    classes: list[int]
    pairs: list[tuple[int, int, bool]]

    def known_different(self) -> set[tuple[int, int]]:
        """Return the pairs of classes that a label says are not one answer."""
        different = set()
        for a, b, is_same in self.pairs:
            if not is_same:
                different.add(ordered(self.classes[a], self.classes[b]))
        return different


def ordered(a: int, b: int) -> tuple[int, int]:
    """Return the two, the smaller first."""
    return (a, b) if a < b else (b, a)


def read_pairs(path: Path) -> list[Pair]:
    """Read JSON lines (`a`, `b`, `duplicate` or `label`) or tab-separated a, b, label; gzip by name."""
    with _open(path) as lines:
        if ".tsv" in path.suffixes:
            return list(_tsv(lines))
        return [_pair(json.loads(line)) for line in lines if line.strip()]


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _tsv(lines: Iterable[str]) -> Iterator[Pair]:
    for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
        if len(row) >= 3 and row[2].strip() in ("0", "1"):
            yield Pair(normalise(row[0]), normalise(row[1]), row[2].strip() == "1")


def _pair(row: dict[str, object]) -> Pair:
    label = row["duplicate"] if "duplicate" in row else row["label"]
    return Pair(normalise(str(row["a"])), normalise(str(row["b"])), bool(int(str(label))))


def corpus(pairs: Iterable[Pair]) -> Corpus:
    """Join what is the same, transitively, into classes."""
    places: dict[str, int] = {}
    parents: list[int] = []
    found: list[tuple[int, int, bool]] = []
    for pair in pairs:
        a, b = (_place(text, places, parents) for text in (pair.a, pair.b))
        found.append((a, b, pair.is_same))
        if pair.is_same:
            parents[_root(a, parents)] = _root(b, parents)
    return Corpus(list(places), [_root(at, parents) for at in range(len(parents))], found)


def _place(text: str, places: dict[str, int], parents: list[int]) -> int:
    if text not in places:
        places[text] = len(parents)
        parents.append(len(parents))
    return places[text]


def _root(at: int, parents: list[int]) -> int:
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at


def folds(data: Corpus, count: int, seed: int) -> list[int]:
    """Return the fold of every text; classes that a label joins, same or not, share one.

    Different questions that were labelled against each other are near in
    wording: parting them would let a model learn one side's answer by heart.
    """
    parents = list(range(len(data.texts)))
    for a, b, _ in data.pairs:
        parents[_root(a, parents)] = _root(b, parents)
    by_class: dict[int, int] = {}
    for at, group in enumerate(data.classes):
        head = by_class.setdefault(group, at)
        parents[_root(at, parents)] = _root(head, parents)
    roots = sorted({_root(at, parents) for at in range(len(parents))})
    random.Random(seed).shuffle(roots)
    fold_of = {root: place % count for place, root in enumerate(roots)}
    return [fold_of[_root(at, parents)] for at in range(len(parents))]
