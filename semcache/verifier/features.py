"""What two prompts have in common, as numbers for the boosted trees.

`a` is the prompt, `b` the candidate found in the cache. The order of FEATURES is
the order of the columns in the fitted model; a model names its columns and is
refused if they are not these.
"""

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise

from semcache.verifier.pair import Pair
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

    def of(self, stems: Iterable[str], known: Mapping[str, float] | None = None) -> dict[str, float]:
        """Return the weight of each stem; `known` are those of others, and a smaller place to look them up."""
        table, unseen = self._table, self.unseen
        if known is None:
            return {word: table.get(word, unseen) for word in stems}
        return {word: known[word] if word in known else table.get(word, unseen) for word in stems}


def compare(pair: Pair, similarity: float, weights: Weights) -> list[float]:
    """Return the features of a pair, in the order of FEATURES."""
    a, b = pair.a, pair.b
    both_have_numbers = bool(a.numbers and b.numbers)
    names = pair.names_a | pair.names_b
    return [
        similarity,
        a.numbers != b.numbers,
        both_have_numbers and set(a.numbers).isdisjoint(b.numbers),
        both_have_numbers,
        a.negations % 2 != b.negations % 2,
        pair.opposites,
        a.question != b.question,
        len(pair.names_a) + len(pair.names_b),
        bool(a.names and b.names) and a.names.isdisjoint(b.names),
        max(weights.of(map(stem, names)).values()) if names else 0.0,
        len(a.persons ^ b.persons),
        a.units != b.units,
        len(a.members ^ b.members),
        *_text_features(a, b, weights),
    ]


def _text_features(a: Reading, b: Reading, weights: Weights) -> tuple[float, ...]:
    """Return how much of what each side says is not said by the other, and how alike the two are made."""
    all_a = weights.of(a.content)
    all_b = weights.of(b.content, all_a)
    lost_a = {word: weight for word, weight in all_a.items() if word not in all_b}
    lost_b = {word: weight for word, weight in all_b.items() if word not in all_a}
    total_a, total_b, sum_a, sum_b = (
        sum(all_a.values()),
        sum(all_b.values()),
        sum(lost_a.values()),
        sum(lost_b.values()),
    )
    share_a = sum_a / total_a if total_a else 0.0
    share_b = sum_b / total_b if total_b else 0.0
    peak_a, peak_b = max(lost_a.values(), default=0.0), max(lost_b.values(), default=0.0)
    shared = total_a - sum_a
    union = shared + sum_a + sum_b
    stems_a, stems_b = set(a.stems), set(b.stems)
    length_a, length_b = len(a.stems) or 1, len(b.stems) or 1
    return (
        share_a, share_b, min(share_a, share_b), max(share_a, share_b),
        peak_a, peak_b, min(peak_a, peak_b),
        shared / union if union else 1.0,
        _jaccard(stems_a, stems_b),
        _share(len(all_a) - len(lost_a), len(all_a) + len(lost_b)),
        _alike(" ".join(["", *a.words, ""]), " ".join(["", *b.words, ""])),
        _jaccard(set(pairwise(a.stems)), set(pairwise(b.stems))),
        abs(math.log(length_a / length_b)),
        min(length_a, length_b),
        stems_a == stems_b and a.stems != b.stems,
        # How the missing words are spelt: typos, other forms.
        _jaccard(_grams_of(lost_a), _grams_of(lost_b)) if lost_a or lost_b else 1.0,
        max([weight for word, weight in all_a.items() if word in all_b], default=0.0),
    )  # fmt: skip


def _alike(a: str, b: str) -> float:
    """Return how many of the runs of three letters are in both lines."""
    # Those of the ends that are equal are made once: a candidate differs in a word or two most of the time.
    shorter = min(len(a), len(b))
    head = _equal(a, b, shorter)
    tail = _equal(a[::-1], b[::-1], shorter - head)
    common = _runs(a[:head])
    common |= _runs(a[len(a) - tail :])
    before = max(0, head - 2)
    mine = _runs(a[before : len(a) - tail + 2]) - common
    theirs = _runs(b[before : len(b) - tail + 2]) - common
    shared = len(mine & theirs)
    return _share(len(common) + shared, len(common) + len(mine) + len(theirs) - shared)


def _equal(a: str, b: str, most: int) -> int:
    """Return how many letters are equal from the start, `most` at most."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if a[least:middle] == b[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _runs(line: str) -> set[tuple[str, str, str]]:
    return set(zip(line, line[1:], line[2:], strict=False))


def _grams_of(words: Iterable[str]) -> set[str]:
    return {word[at : at + 3] for word in words for at in range(max(1, len(word) - 2))}


def _jaccard(a: AbstractSet[object], b: AbstractSet[object]) -> float:
    shared = len(a & b)
    return _share(shared, len(a) + len(b) - shared)


def _share(shared: int, union: int) -> float:
    return shared / union if union else 1.0
