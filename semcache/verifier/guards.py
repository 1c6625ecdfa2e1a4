"""Rules that refuse a candidate for a reason that can be named.

A guard looks for one difference after which the stored answer is wrong, however
alike the two texts are. It is silent about everything else: whether the rest
means the same is for the boosted trees. Order is from the cheapest and clearest
to the subtlest; the first that fires is the reason in the reply.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from enum import Enum

from semcache.verifier import lexicon
from semcache.verifier.classes import MEMBER_OF
from semcache.verifier.opposites import NOT_PREFIXED, OPPOSITES, PREFIXES
from semcache.verifier.reading import Reading, read


class Guard(Enum):
    """Why a candidate was refused."""

    LENGTH = "length"
    NUMBERS = "numbers"
    UNITS = "units"
    IDENTIFIERS = "identifiers"
    NEGATION = "negation"
    OPPOSITES = "opposites"
    CLASSES = "classes"
    NAMES = "names"
    ASPECT = "aspect"
    CHOICE = "choice"
    GENDER = "gender"
    DIRECTION = "direction"
    CONTENT = "content"


Rule = Callable[[Reading, Reading], bool]


# "Greek" and "Greeks", "Googling" and "Google" are one name.
_FORM_LETTERS = 4
_INITIALS = range(2, 6)
_PLACES = 2
_DOES = frozenset(("do", "does", "did"))
# Words from one neighbour of content to the other: "convert Indian rupees into the dollar".
_REACH = 5
# Beyond it the trees were fitted on next to nothing, and one word that decides is lost among all that is shared: "praise
# the text below: …" is no paraphrase of "criticise the text below: …".
_WORDS_WEIGHED_MAX = 30


def _numbers_differ(a: Reading, b: Reading) -> bool:
    is_reckoned_otherwise = bool(a.operations - b.operations) and bool(b.operations - a.operations)
    return a.numbers != b.numbers or is_reckoned_otherwise


def _units_differ(a: Reading, b: Reading) -> bool:
    return bool(a.units - b.units) and bool(b.units - a.units)


def _identifiers_differ(a: Reading, b: Reading) -> bool:
    return bool(a.identifiers - b.identifiers) and bool(b.identifiers - a.identifiers)


def _negation_differs(a: Reading, b: Reading) -> bool:
    return a.negations % 2 != b.negations % 2


def opposite_pairs(a: Reading, b: Reading) -> int:
    """Count the pairs of opposites of which each side has one and only one."""
    only_a, only_b = a.vocabulary - b.vocabulary, b.vocabulary - a.vocabulary
    listed = sum(not only_b.isdisjoint(OPPOSITES.get(word, ())) for word in only_a)
    return listed + _prefixed(only_a, only_b) + _prefixed(only_b, only_a)


def _prefixed(plain: AbstractSet[str], negated: AbstractSet[str]) -> int:
    """Count the words that the other side has with "un" or its like before them."""
    found = {prefix + word for word in plain if len(word) >= _FORM_LETTERS for prefix in PREFIXES}
    return len((found & negated) - NOT_PREFIXED)


def _opposites_stand(a: Reading, b: Reading) -> bool:
    return opposite_pairs(a, b) > 0


def _classes_clash(a: Reading, b: Reading) -> bool:
    only_a = {member.partition(":")[0] for member in a.members - b.members}
    return bool(only_a) and any(member.partition(":")[0] in only_a for member in b.members - a.members)


def _names_clash(a: Reading, b: Reading) -> bool:
    return bool(missing_names(a, b)) and bool(missing_names(b, a))


def missing_names(a: Reading, b: Reading) -> set[str]:
    """Return the names of `a` that `b` has in no case, no other form and not as initials."""
    return {name for name in a.names if name not in b.vocabulary and not _is_known(name, b)}


def _is_known(name: str, reading: Reading) -> bool:
    member = MEMBER_OF.get(name)
    if member is not None:
        return member in reading.members
    head = name[:_FORM_LETTERS]
    is_form = len(head) == _FORM_LETTERS and any(word.startswith(head) for word in reading.words)
    return is_form or (len(name) in _INITIALS and name in reading.initials)


def _aspect_differs(a: Reading, b: Reading) -> bool:
    return a.aspects != b.aspects


def _choice_differs(a: Reading, b: Reading) -> bool:
    return (_has_only(a, "or", "and") and _has_only(b, "and", "or")) or (
        _has_only(a, "and", "or") and _has_only(b, "or", "and")
    )


def _has_only(reading: Reading, word: str, other: str) -> bool:
    return word in reading.vocabulary and other not in reading.vocabulary


def _gender_differs(a: Reading, b: Reading) -> bool:
    return a.genders != b.genders and bool(a.genders) and bool(b.genders)


def _direction_turns(a: Reading, b: Reading) -> bool:
    """Tell whether something stands between the same two words, which have changed places: "rupees to dollars".

    Only a few small words always point one way. Between words of content anything may, if nothing else differs:
    "does the wolf fear the dog", but not "is the wolf like the dog". What is done "by" somebody points backwards.
    """
    content_a, content_b = set(a.content), set(b.content)
    if len(content_a & content_b) < _PLACES:
        return False
    is_any = content_a == content_b and lexicon.TWO_WAY.isdisjoint(a.vocabulary | b.vocabulary)
    if is_any and a.question == b.question == "who" and _asks_for_object(a) != _asks_for_object(b):
        return True
    turned = {(right, middle, left) for left, middle, right in _places(a, is_any=is_any) if left != right}
    return not turned.isdisjoint(_places(b, is_any=is_any))


def _asks_for_object(reading: Reading) -> bool:
    """Tell "who did she call" from "who called her"."""
    at = reading.words.index("who")
    return not _DOES.isdisjoint(reading.words[at + 1 : at + 2])


def _places(reading: Reading, *, is_any: bool) -> Iterator[tuple[str, str, str]]:
    """Yield every word that can point from its left to its right, between its neighbours of content."""
    words, stems = reading.words, reading.stems
    said = [at for at, word in enumerate(words) if word not in lexicon.STOP]
    for at, word in enumerate(words):
        is_content = word not in lexicon.STOP
        if not (word in lexicon.ONE_WAY or (is_any and is_content)):
            continue
        place = bisect_left(said, at)
        after = place + is_content
        if place > 0 and after < len(said) and said[after] - said[place - 1] <= _REACH:
            left, right = stems[said[place - 1]], stems[said[after]]
            # A gerund names what is done more often than it does it: "hotel booking site".
            middle = word if word.endswith("ing") else stems[at]
            if not _is_passive(words, at):
                yield left, middle, right
            elif words[at + 1] == "by":
                yield right, middle, left


def _is_passive(words: tuple[str, ...], at: int) -> bool:
    is_participle = words[at].endswith("ed") or words[at] in lexicon.IRREGULAR
    return is_participle and not lexicon.BE.isdisjoint(words[max(0, at - _REACH) : at])


def _content_differs(a: Reading, b: Reading) -> bool:
    return max(len(a.words), len(b.words)) > _WORDS_WEIGHED_MAX and a.content != b.content


RULES: tuple[tuple[Guard, Rule], ...] = (
    (Guard.NUMBERS, _numbers_differ),
    (Guard.UNITS, _units_differ),
    (Guard.IDENTIFIERS, _identifiers_differ),
    (Guard.NEGATION, _negation_differs),
    (Guard.OPPOSITES, _opposites_stand),
    (Guard.CLASSES, _classes_clash),
    (Guard.NAMES, _names_clash),
    (Guard.ASPECT, _aspect_differs),
    (Guard.CHOICE, _choice_differs),
    (Guard.GENDER, _gender_differs),
    (Guard.DIRECTION, _direction_turns),
    (Guard.CONTENT, _content_differs),
)


def judge_readings(a: Reading, b: Reading) -> Guard | None:
    """Return the first reason to refuse, or None."""
    for guard, differs in RULES:
        if differs(a, b):
            return guard
    return None


def judge(prompt: str, candidate: str) -> Guard | None:
    """Return why the answer of `candidate` must not serve `prompt`, or None."""
    return judge_readings(read(prompt), read(candidate))
