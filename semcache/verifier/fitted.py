"""The verifier that is shipped: `fitted.json`, written by `python -m bench.quality.fit`.

    header      what it is, the command that made it, the data's name and terms
    features    names of the columns, which must be FEATURES
    thresholds  similarity's slope · splits as [tree, feature, threshold, left leaves] · leaves of each tree
    words       stems with the number of questions that have them, the commonest first
    curve       the calibration to start from

1. Read once at start; a file that does not fit this code is an error, never a different answer.
2. No text is in it: stems that fewer than `documents_min` questions have are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from semcache.errors import ConfigError
from semcache.logistic import Curve
from semcache.verifier.features import FEATURES, Weights
from semcache.verifier.trees import Forest, Split
from semcache.verifier.verdict import Verifier

FILE = "fitted.json"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A verifier with the calibration that belongs to its scores."""

    verifier: Verifier
    curve: Curve
    scale: str
    """Name of what its scores mean: gates keep it beside their state."""


def load() -> Fitted:
    """Read the shipped verifier.

    Raises:
        ConfigError: the file is of another version.
    """
    return parse(json.loads(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")))


def parse(fitted: Mapping[str, Any]) -> Fitted:
    """Make a verifier of what the file says.

    Raises:
        ConfigError: it was fitted on other features.
    """
    if tuple(fitted["features"]) != FEATURES:
        raise ConfigError(f"{FILE}: fitted on other features than this version reads; run bench.quality.fit")
    splits = [Split(*row) for row in fitted["splits"]]
    forest = Forest(splits, fitted["leaves"], len(FEATURES))
    return Fitted(
        Verifier(forest, weights(fitted["words"], fitted["documents"], fitted["documents_min"]), fitted["slope"]),
        Curve(**fitted["curve"]),
        fitted["scale"],
    )


def weights(words: Mapping[str, int], documents: int, documents_min: int) -> Weights:
    """Return inverse document frequencies; a stem that was left out weighs as much as the rarest that was not."""
    table = {word: inverse_frequency(count, documents) for word, count in words.items()}
    return Weights(table, inverse_frequency(documents_min, documents))


def inverse_frequency(count: int, documents: int) -> float:
    """Return how much a stem says that so many of the documents have."""
    return math.log((documents + 1) / (count + 0.5))
