"""What a gate stands on: recent labels and recent requests, joined over replicas and restarts without counting twice.

    note(score) ──▶ the newest R requests, each known by its stamp ──┐
                                                                     ├──▶ state ──▶ join, at any replica
    learn(lookup, label) ──▶ the newest W labels, each by its lookup ┘

1. Joining is a union: in any order, however often, it comes to the same. Of two labels of one lookup the later one stays.
2. Only the newest stay, and that commutes with joining: what one replica has forgotten as too old, all together would
   have forgotten, too.
3. Equal knowledge is an equal state, to the letter: gates that stand on the same decide the same.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

ORIGINS = 1_024
"""Numbers for who stamps: replicas draw one, so that requests of the same microsecond are two."""
_MICROS = 1_000_000
# Of scores and times: a third less to write down for all replicas than all that a float has.
_DIGITS = 4


class Label(NamedTuple):
    """What is known of one candidate: when, its score and similarity, and whether its answer fitted."""

    at: float
    score: float
    is_right: bool
    similarity: float = 0.0


class Request(NamedTuple):
    """A request that was decided."""

    stamp: int
    """Microseconds, and below them who stamped."""
    score: float
    """-inf: it had no candidate."""


class Evidence:
    """The newest of both."""

    def __init__(self, labels_max: int, requests_max: int, origin: int = 0) -> None:
        self._labels_max = labels_max
        self._requests_max = requests_max
        self._origin = origin % ORIGINS
        self._stamp = self._origin
        self.version = 0
        """Another number for other evidence."""
        self._labels: dict[str, Label] = {}
        self._requests: list[Request] = []

    def note(self, score: float | None, now: float) -> None:
        """Note a request and the score of its candidate."""
        # Above the last one: requests of a batch come at one time, and are several.
        self._stamp = max(int(now * _MICROS) * ORIGINS + self._origin, self._stamp + ORIGINS)
        self.version += 1
        request = Request(self._stamp, -math.inf if score is None else round(score, _DIGITS))
        # Nearly always the newest; what another replica noted may be newer.
        if self._requests and request < self._requests[-1]:
            insort(self._requests, request)
        else:
            self._requests.append(request)
        if len(self._requests) > self._requests_max:
            del self._requests[0]

    def learn(self, lookup: str, label: Label) -> None:
        """Take the label of a lookup's candidate."""
        self.version += 1
        rounded = Label(
            round(label.at, _DIGITS), round(label.score, _DIGITS), label.is_right, round(label.similarity, _DIGITS)
        )
        self._take({lookup: rounded})

    def knows(self, lookup: str) -> bool:
        """Return whether a label of this lookup counts."""
        return lookup in self._labels

    @property
    def labels(self) -> Sequence[Label]:
        """Return the labels, the oldest first."""
        return [label for _, label in self._sorted()]

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Return the scores of the requests, the oldest first; -inf where there was no candidate."""
        return np.array([each.score for each in self._requests], np.float64)

    def state(self) -> dict[str, Any]:
        """Return what `join` takes, in JSON's types."""
        return {
            "labels": [[lookup, *label] for lookup, label in self._sorted()],
            "requests": [[each.stamp, None if each.score == -math.inf else each.score] for each in self._requests],
        }

    def join(self, state: Mapping[str, Any]) -> tuple[int, int]:
        """Take what another knew; return how many labels and requests of it were news.

        Raises:
            ValueError: it is no state; nothing was taken.
        """
        try:
            labels, requests = _read_labels(state), _read_requests(state)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not what a gate stood on: {error!r}") from None
        before = dict(self._labels)
        self._take(labels)
        merged = sorted({*self._requests, *requests})[-self._requests_max :]
        new = len(set(merged).difference(self._requests))
        self._requests = merged
        learned = sum(before.get(lookup) != label for lookup, label in self._labels.items())
        self.version += learned + new
        return learned, new

    def _take(self, labels: Mapping[str, Label]) -> None:
        for lookup, label in labels.items():
            self._labels[lookup] = max(label, self._labels.get(lookup, label))
        for lookup, _ in self._sorted()[: -self._labels_max]:
            del self._labels[lookup]

    def _sorted(self) -> list[tuple[str, Label]]:
        return sorted(self._labels.items(), key=lambda of: (of[1], of[0]))


def _read_labels(state: Mapping[str, Any]) -> dict[str, Label]:
    return {
        str(lookup): Label(float(at), float(score), bool(is_right), float(similarity))
        for lookup, at, score, is_right, similarity in state["labels"]
    }


def _read_requests(state: Mapping[str, Any]) -> list[Request]:
    return [Request(int(stamp), -math.inf if score is None else float(score)) for stamp, score in state["requests"]]
