"""Rules that refuse a candidate for a reason that can be named.

A guard looks for one difference after which the stored answer is wrong, however
alike the two texts are. It is silent about everything else: whether the rest
means the same is for the boosted trees. Order is from the cheapest and clearest
to the subtlest; the first that fires is the reason in the reply.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from enum import Enum

from semcache.verifier import lexicon
from semcache.verifier.pair import Pair
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


Rule = Callable[[Pair], bool]


_PLACES = 2
_ONE_WAY, _TWO_WAY = lexicon.ONE_WAY, lexicon.TWO_WAY
# Words from one neighbour of content to the other: "convert Indian rupees into the dollar".
_REACH = 5
_DOES = frozenset(("do", "does", "did"))
# Beyond it the trees were fitted on next to nothing, and one word that decides is lost among all that is shared: "praise
# the text below: …" is no paraphrase of "criticise the text below: …".
_WORDS_WEIGHED_MAX = 30


def _numbers_differ(pair: Pair) -> bool:
    a, b = pair.a, pair.b
    # Reckoned otherwise with the same ones?
    return a.numbers != b.numbers or (a.operations != b.operations and _both_have_own(a.operations, b.operations))


def _units_differ(pair: Pair) -> bool:
    return _both_have_own(pair.a.units, pair.b.units)


def _identifiers_differ(pair: Pair) -> bool:
    return _both_have_own(pair.a.identifiers, pair.b.identifiers)


def _both_have_own(a: frozenset[str], b: frozenset[str]) -> bool:
    return bool(a) and bool(b) and not a <= b and not b <= a


def _negation_differs(pair: Pair) -> bool:
    return pair.a.negations % 2 != pair.b.negations % 2


def _opposites_stand(pair: Pair) -> bool:
    return pair.opposites > 0


def _classes_clash(pair: Pair) -> bool:
    members_a, members_b = pair.a.members, pair.b.members
    if members_a == members_b:
        return False
    only_a = {member.partition(":")[0] for member in members_a - members_b}
    return bool(only_a) and any(member.partition(":")[0] in only_a for member in members_b - members_a)


def _names_clash(pair: Pair) -> bool:
    return bool(pair.names_a) and bool(pair.names_b)


def _aspect_differs(pair: Pair) -> bool:
    return pair.a.aspects != pair.b.aspects


def _choice_differs(pair: Pair) -> bool:
    only_a, only_b = pair.only_a, pair.only_b
    return ("or" in only_a and "and" in only_b) or ("and" in only_a and "or" in only_b)


def _gender_differs(pair: Pair) -> bool:
    genders_a, genders_b = pair.a.genders, pair.b.genders
    return genders_a != genders_b and bool(genders_a) and bool(genders_b)


def _direction_turns(pair: Pair) -> bool:
    """Tell whether something stands between the same two words, which have changed places: "rupees to dollars".

    Only a few small words always point one way. Between words of content anything may, if nothing else differs:
    "does the wolf fear the dog", but not "is the wolf like the dog". What is done "by" somebody points backwards.
    """
    a, b = pair.a, pair.b
    is_any = set(a.content) == set(b.content) and _TWO_WAY.isdisjoint(a.vocabulary | b.vocabulary)
    if not is_any and (_ONE_WAY.isdisjoint(a.vocabulary) or _ONE_WAY.isdisjoint(b.vocabulary)):
        return False
    if len(set(a.content).intersection(b.content)) < _PLACES:
        return False
    if is_any and a.question == b.question == "who" and _asks_for_object(a) != _asks_for_object(b):
        return True
    if a.content == b.content and _keeps_order(pair):
        return False
    turned = {(right, middle, left) for left, middle, right in _places(a, is_any=is_any) if left != right}
    return bool(turned) and not turned.isdisjoint(_places(b, is_any=is_any))


def _keeps_order(pair: Pair) -> bool:
    """Tell that nothing can have changed places between two prompts of the same content, word by word."""
    content = pair.a.content
    return len(set(content)) == len(content) and "by" not in pair.a.vocabulary and "by" not in pair.b.vocabulary


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
        if not (word in _ONE_WAY or (is_any and is_content)):
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


def _content_differs(pair: Pair) -> bool:
    a, b = pair.a, pair.b
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


def judge_pair(pair: Pair) -> Guard | None:
    """Return the first reason to refuse, or None."""
    for guard, differs in RULES:
        if differs(pair):
            return guard
    return None


def judge(prompt: str, candidate: str) -> Guard | None:
    """Return why the answer of `candidate` must not serve `prompt`, or None."""
    return judge_pair(Pair(read(prompt), read(candidate)))
