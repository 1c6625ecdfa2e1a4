"""Everything that is known of the pairs of a corpus: features, vetoes and labels, computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.quality.boosting import Labels, Matrix
from bench.quality.data import Corpus, Pair, ordered
from bench.quality.embedding import Embed, Vectors
from bench.quality.neighbours import Neighbours
from semcache.deixis import is_deictic
from semcache.verifier.features import Weights, compare
from semcache.verifier.fitted import weights
from semcache.verifier.guards import judge_pair
from semcache.verifier.pair import Pair as Sides
from semcache.verifier.reading import Reading, read

Positions = npt.NDArray[np.int64]

# Stems of fewer questions than this are not shipped: they are rare names and typing errors.
DOCUMENTS_MIN = 5


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows of features with the two texts that they compare."""

    a: Positions
    b: Positions
    rows: Matrix
    is_same: Labels
    is_known: Labels
    """A label, direct or by its classes, says whether they are the same."""
    is_vetoed: Labels
    """A guard refuses the pair, or `a` is deictic."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.a)

    def where(self, mask: Labels) -> Sheet:
        """Return the pairs of a mask."""
        return Sheet(
            self.a[mask], self.b[mask], self.rows[mask], self.is_same[mask], self.is_known[mask], self.is_vetoed[mask]
        )


def read_all(texts: Iterable[str]) -> list[Reading]:
    """Take every text apart."""
    return [read(text) for text in texts]


def count_words(readings: Sequence[Reading]) -> dict[str, int]:
    """Return in how many texts each stem is, the commonest first; rare ones are left out."""
    counts = Counter(stem for reading in readings for stem in set(reading.stems))
    kept = [(stem, count) for stem, count in counts.items() if count >= DOCUMENTS_MIN]
    return dict(sorted(kept, key=lambda item: (-item[1], item[0])))


def weigh(readings: Sequence[Reading]) -> Weights:
    """Return the weights that these texts give."""
    return weights(count_words(readings), len(readings), DOCUMENTS_MIN)


def labelled(corpus: Corpus, readings: Sequence[Reading], vectors: Vectors, weighed: Weights) -> Sheet:
    """Return the pairs that carry a label of their own."""
    a, b, is_same = (np.array(column) for column in zip(*corpus.pairs, strict=True))
    similarities = np.einsum("ij,ij->i", vectors[a], vectors[b]).astype(np.float64)
    return _sheet(readings, weighed, a, b, similarities, is_same, np.ones(len(a), np.bool_))


def near(corpus: Corpus, readings: Sequence[Reading], found: Neighbours, weighed: Weights) -> Sheet:
    """Return all neighbours, in their order, labelled by class."""
    classes = np.array(corpus.classes)
    a, b = found.rows, found.columns
    is_same = classes[a] == classes[b]
    different = corpus.known_different()
    is_different = [ordered(x, y) in different for x, y in zip(classes[a].tolist(), classes[b].tolist(), strict=True)]
    return _sheet(readings, weighed, a, b, found.similarities, is_same, is_same | np.array(is_different, np.bool_))


def of_pairs(pairs: Sequence[Pair], embed: Embed, weighed: Weights) -> Sheet:
    """Return the sheet of pairs that are in no corpus."""
    texts = [text for pair in pairs for text in (pair.a, pair.b)]
    vectors, readings = embed(texts), read_all(texts)
    a, b = np.arange(0, len(texts), 2), np.arange(1, len(texts), 2)
    similarities = np.einsum("ij,ij->i", vectors[a], vectors[b]).astype(np.float64)
    is_same = np.array([pair.is_same for pair in pairs])
    return _sheet(readings, weighed, a, b, similarities, is_same, np.ones(len(a), np.bool_))


def _sheet(  # noqa: PLR0913, PLR0917 - the columns, and what the other two are made of
    readings: Sequence[Reading],
    weighed: Weights,
    a: Positions,
    b: Positions,
    similarities: Matrix,
    is_same: Labels,
    is_known: Labels,
) -> Sheet:
    pairs = [Sides(readings[x], readings[y]) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    rows = [compare(pair, similarity, weighed) for pair, similarity in zip(pairs, similarities.tolist(), strict=True)]
    vetoes = [judge_pair(pair) is not None or is_deictic(pair.a.text) for pair in pairs]
    return Sheet(a, b, np.array(rows), is_same, is_known, np.array(vetoes, np.bool_))
