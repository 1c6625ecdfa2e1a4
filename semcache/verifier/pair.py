"""Two readings, and what only one of them has: guards and features ask for the same."""

from collections.abc import Set as AbstractSet

from semcache.verifier.classes import MEMBER_OF
from semcache.verifier.opposites import NOT_PREFIXED, OPPOSITES, PREFIXES
from semcache.verifier.reading import Reading

# "Greek" and "Greeks", "Googling" and "Google" are one name.
_FORM_LETTERS = 4
_INITIALS = range(2, 6)


class Pair:
    """A prompt and a candidate."""

    __slots__ = ("a", "b", "names_a", "names_b", "only_a", "only_b", "opposites")

    def __init__(self, a: Reading, b: Reading) -> None:
        self.a, self.b = a, b
        self.only_a, self.only_b = a.vocabulary - b.vocabulary, b.vocabulary - a.vocabulary
        """Words."""
        self.names_a, self.names_b = _missing_names(a, b), _missing_names(b, a)
        """Names that the other has in no case, no other form and not as initials."""
        self.opposites = _opposites(self.only_a, self.only_b)
        """Pairs of opposites of which each side has one and only one."""


def _opposites(only_a: AbstractSet[str], only_b: AbstractSet[str]) -> int:
    if not only_a or not only_b:
        return 0
    listed = 0
    for word in only_a:
        others = OPPOSITES.get(word)
        listed += others is not None and not only_b.isdisjoint(others)
    return listed + _prefixed(only_a, only_b) + _prefixed(only_b, only_a)


def _prefixed(plain: AbstractSet[str], negated: AbstractSet[str]) -> int:
    """Count the words that the other side has with "un" or its like before them."""
    negated = {word for word in negated if word.startswith(PREFIXES)}
    if not negated:
        return 0
    found = {prefix + word for word in plain if len(word) >= _FORM_LETTERS for prefix in PREFIXES}
    return len((found & negated) - NOT_PREFIXED)


def _missing_names(a: Reading, b: Reading) -> AbstractSet[str]:
    missing = a.names - b.vocabulary
    return {name for name in missing if not _is_known(name, b)} if missing else missing


def _is_known(name: str, reading: Reading) -> bool:
    member = MEMBER_OF.get(name)
    if member is not None:
        return member in reading.members
    head = name[:_FORM_LETTERS]
    is_form = len(head) == _FORM_LETTERS and any(word.startswith(head) for word in reading.words)
    return is_form or (len(name) in _INITIALS and name in "".join([word[0] for word in reading.words]))
