"""The verdict on one candidate: what the guards and the trees say, put together."""

from dataclasses import dataclass
from functools import lru_cache

from semcache.verifier.features import Weights, compare
from semcache.verifier.guards import Guard, judge_pair
from semcache.verifier.pair import Pair
from semcache.verifier.reading import Reading, read
from semcache.verifier.trees import Forest

# Several times what an embedding model reads of a prompt (256 tokens, some 1,000 characters). Two prompts that agree
# so far and differ beyond it are not told apart by similarity, and reading 4,096 characters takes 2 ms already.
CHARACTERS_MAX = 4_096

# A prompt is compared with several candidates, and what is asked often is a candidate often: reading is most of
# what a verdict costs. Long prompts are read each time: 256 readings of 1,024 characters are 30 MB.
_READINGS_MAX = 256
_READING_CHARACTERS_MAX = 1_024


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be thought of one candidate."""

    score: float
    """Log odds, uncalibrated, that its answer fits; higher is better."""
    guard: Guard | None
    """Why it must not be served; None if nothing speaks against it."""


class Verifier:
    """Compares prompts. Immutable: one may be shared by all threads."""

    __slots__ = ("_forest", "_slope", "_weights")

    def __init__(self, forest: Forest, weights: Weights, slope: float) -> None:
        """Put a fitted model together; `slope` is what the trees' sum loses where similarity is not 1, for each unit of it."""
        self._forest = forest
        self._weights = weights
        self._slope = slope

    def verify(self, prompt: str, candidate_prompt: str, similarity: float, *, scores_refused: bool = True) -> Verdict:
        """Judge a candidate.

        Args:
            prompt: as `semcache.prompt.normalise` leaves it.
            candidate_prompt: as well.
            similarity: as the store gave it.
            scores_refused: False: what a guard refuses has the score 0.
        """
        if len(prompt) > CHARACTERS_MAX or len(candidate_prompt) > CHARACTERS_MAX:
            return Verdict(0.0, Guard.LENGTH)
        pair = Pair(_read(prompt), _read(candidate_prompt))
        guard = judge_pair(pair)
        if guard is not None and not scores_refused:
            return Verdict(0.0, guard)
        features = compare(pair, similarity, self._weights)
        return Verdict(self._forest.score(features) + self._slope * (similarity - 1.0), guard)


def _read(text: str) -> Reading:
    return _remembered(text) if len(text) <= _READING_CHARACTERS_MAX else read(text)


@lru_cache(_READINGS_MAX)
def _remembered(text: str) -> Reading:
    return read(text)
