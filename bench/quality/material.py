"""What every measurement starts from: the labelled pairs of a path, embedded, compared and weighed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.quality import sheet
from bench.quality.boosting import Labels
from bench.quality.data import Corpus, corpus, read_pairs
from bench.quality.embedding import Embed, Vectors, kept_embed
from bench.quality.neighbours import Neighbours, neighbours
from bench.quality.recipe import NEAREST
from bench.quality.sheet import Positions, Sheet
from semcache.verifier.features import Weights
from semcache.verifier.reading import Reading


@dataclass(frozen=True, slots=True)
class Material:
    """A corpus and everything that is computed of it once."""

    corpus: Corpus
    embed: Embed
    vectors: Vectors
    readings: list[Reading]
    weights: Weights
    neighbours: Neighbours
    labelled: Sheet
    near: Sheet

    @property
    def is_nearest(self) -> Labels:
        """Return which neighbours are among the nearest few of their text."""
        return self._rank < NEAREST

    @property
    def is_first(self) -> Labels:
        """Return which neighbour is the nearest of its text."""
        return np.equal(self._rank, 0)

    @property
    def _rank(self) -> Positions:
        starts = self.neighbours.starts
        return np.arange(len(self.near)) - np.repeat(starts[:-1], np.diff(starts))


def prepare(pairs: Path, model: Path, kept: Path) -> Material:
    """Read labelled pairs and compute what is needed of them; vectors are kept in the folder `kept`."""
    found = corpus(read_pairs(pairs))
    embed = kept_embed(model, kept)
    vectors = embed(found.texts)
    readings = sheet.read_all(found.texts)
    weighed = sheet.weigh(readings)
    close = neighbours(vectors)
    labelled = sheet.labelled(found, readings, vectors, weighed)
    return Material(
        found, embed, vectors, readings, weighed, close, labelled, sheet.near(found, readings, close, weighed)
    )
