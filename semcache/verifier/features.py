"""What two prompts have in common, as numbers for the boosted trees.

`a` is the prompt, `b` the candidate found in the cache. The order of FEATURES is
the order of the columns in the fitted model; a model names its columns and is
refused if they are not these.
"""

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from semcache.verifier import guards
from semcache.verifier.reading import Reading
from semcache.verifier.words import stem

FEATURES = (
    "similarity",
    "numbers_differ",
    "numbers_disjoint",
    "both_have_numbers",
    "negation_differs",
    "opposite_pairs",
    "question_differs",
    "names_missing",
    "names_disjoint",
    "name_weight_missing",
    "persons_differ",
    "units_differ",
    "members_differ",
    "missing_share_a",
    "missing_share_b",
    "missing_share_min",
    "missing_share_max",
    "missing_peak_a",
    "missing_peak_b",
    "missing_peak_min",
    "weight_jaccard",
    "stem_jaccard",
    "content_jaccard",
    "trigram_jaccard",
    "bigram_jaccard",
    "length_ratio",
    "length_shorter",
    "same_stems_reordered",
    "missing_spelling",
    "weight_shared",
)


class Weights:
    """How much a stem says: its inverse document frequency in the text the model was fitted on."""

    __slots__ = ("_table", "unseen")

    def __init__(self, table: Mapping[str, float], unseen: float) -> None:
        self._table = table
        self.unseen = unseen

    def of(self, stems: Iterable[str]) -> dict[str, float]:
        """Return the weight of each stem."""
        table, unseen = self._table, self.unseen
        return {word: table.get(word, unseen) for word in stems}


def compare(a: Reading, b: Reading, similarity: float, weights: Weights) -> list[float]:
    """Return the features of a pair, in the order of FEATURES."""
    numbers_a, numbers_b = set(a.numbers), set(b.numbers)
    names_a, names_b = guards.missing_names(a, b), guards.missing_names(b, a)
    return [
        similarity,
        float(a.numbers != b.numbers),
        float(bool(numbers_a and numbers_b) and not numbers_a & numbers_b),
        float(bool(numbers_a and numbers_b)),
        float(a.negations % 2 != b.negations % 2),
        float(guards.opposite_pairs(a, b)),
        float(a.question != b.question),
        float(len(names_a) + len(names_b)),
        float(bool(a.names and b.names) and not a.names & b.names),
        max(weights.of(map(stem, names_a | names_b)).values(), default=0.0),
        float(len(a.persons ^ b.persons)),
        float(a.units != b.units),
        float(len(a.members ^ b.members)),
        *_content_features(a, b, weights),
        *_shape_features(a, b),
        *_missing_features(a, b, weights),
    ]


def _content_features(a: Reading, b: Reading, weights: Weights) -> tuple[float, ...]:
    """Return how much of what each side says is not said by the other."""
    all_a, all_b = weights.of(a.content), weights.of(b.content)
    lost_a = [weight for word, weight in all_a.items() if word not in all_b]
    lost_b = [weight for word, weight in all_b.items() if word not in all_a]
    total_a, total_b, sum_a, sum_b = sum(all_a.values()), sum(all_b.values()), sum(lost_a), sum(lost_b)
    share_a = sum_a / total_a if total_a else 0.0
    share_b = sum_b / total_b if total_b else 0.0
    peak_a, peak_b = max(lost_a, default=0.0), max(lost_b, default=0.0)
    shared = total_a - sum_a
    union = shared + sum_a + sum_b
    return (
        share_a, share_b, min(share_a, share_b), max(share_a, share_b),
        peak_a, peak_b, min(peak_a, peak_b),
        shared / union if union else 1.0,
    )  # fmt: skip


def _shape_features(a: Reading, b: Reading) -> tuple[float, ...]:
    stems_a, stems_b = set(a.stems), set(b.stems)
    length_a, length_b = len(a.stems) or 1, len(b.stems) or 1
    return (
        _jaccard(stems_a, stems_b),
        _jaccard(set(a.content), set(b.content)),
        _jaccard(a.trigrams, b.trigrams),
        _jaccard(set(zip(a.stems, a.stems[1:], strict=False)), set(zip(b.stems, b.stems[1:], strict=False))),
        abs(math.log(length_a / length_b)),
        float(min(length_a, length_b)),
        float(stems_a == stems_b and a.stems != b.stems),
    )


def _missing_features(a: Reading, b: Reading, weights: Weights) -> tuple[float, float]:
    """Return how alike the missing words are spelt (typos, other forms), and the weight of what is shared."""
    words_a, words_b = set(a.content), set(b.content)
    lost_a, lost_b = _grams(words_a - words_b), _grams(words_b - words_a)
    alike = _jaccard(lost_a, lost_b) if lost_a or lost_b else 1.0
    return alike, max(weights.of(words_a & words_b).values(), default=0.0)


def _grams(words: set[str]) -> set[str]:
    return {word[at : at + 3] for word in words for at in range(max(1, len(word) - 2))}


def _jaccard(a: AbstractSet[object], b: AbstractSet[object]) -> float:
    shared = len(a & b)
    union = len(a) + len(b) - shared
    return shared / union if union else 1.0
