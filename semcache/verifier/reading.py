"""What the guards and features know of one prompt; read once, compared with every candidate."""

from dataclasses import dataclass

from semcache.verifier import lexicon
from semcache.verifier.classes import JOINED, MEMBER_OF
from semcache.verifier.numbers import operations, read_number
from semcache.verifier.words import Token, expand, is_identifier, stem, tokens

_GENDERS = dict.fromkeys(("she", "her", "hers", "herself"), "she") | dict.fromkeys(
    ("he", "him", "his", "himself"), "he"
)
_PERSONS = (
    dict.fromkeys(("i", "me", "my", "mine", "myself", "we", "us", "our", "ours"), "I")
    | dict.fromkeys(("you", "your", "yours", "yourself"), "you")
    | dict.fromkeys((*_GENDERS, "they", "them", "their", "theirs"), "they")
)
_QUESTIONS = ("who", "whom", "whose", "when", "where", "why", "how", "which", "what")
_NOT_NEGATED = ("only", "matter", "just")
_HAPPENED = frozenset(("did", "has", "have", "had"))
_HOW = ("many", "much", "long", "old", "far", "often", "big", "tall", "high", "deep", "fast", "soon", "late")
# Words from "is" to "used": "is all that salt used to".
_PASSIVE_REACH = 4


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt, taken apart."""

    text: str
    words: tuple[str, ...]  # lower case, contractions expanded
    vocabulary: frozenset[str]  # the words, as a set
    stems: tuple[str, ...]
    content: tuple[str, ...]  # stems of the words that are not function words, in order
    numbers: tuple[str, ...]  # canonical, sorted
    operations: frozenset[str]  # signs of what is done with them
    units: frozenset[str]
    names: frozenset[str]  # capitalised where no sentence starts, lower-cased
    members: frozenset[str]  # words of a closed class, as `class:member`
    identifiers: frozenset[str]
    negations: int
    genders: tuple[str, ...]
    persons: frozenset[str]
    question: str
    aspects: frozenset[str]
    initials: str  # first letters in order, where an acronym may be found
    trigrams: frozenset[str]


@dataclass(slots=True)
class _Draft:
    """The lists that grow while the tokens go by."""

    words: list[str]
    numbers: list[str]
    units: list[str]
    names: list[str]
    identifiers: list[str]


def read(text: str) -> Reading:
    """Take a prompt apart."""
    draft = _Draft([], [], [], [], [])
    previous = ""
    for token in tokens(text):
        _add(draft, token, previous)
        previous = token.text
    words = _join(draft.words)
    stems = tuple(map(stem, words))
    return Reading(
        text=text,
        words=words,
        vocabulary=frozenset(words),
        stems=stems,
        content=tuple(s for word, s in zip(words, stems, strict=True) if word not in lexicon.STOP),
        numbers=tuple(sorted(draft.numbers)),
        operations=operations(text) if draft.numbers else frozenset(),
        units=frozenset(draft.units),
        names=frozenset(draft.names),
        members=frozenset(MEMBER_OF[word] for word in words if word in MEMBER_OF),
        identifiers=frozenset(draft.identifiers),
        negations=_negations(words),
        genders=tuple(_GENDERS[word] for word in words if word in _GENDERS),
        persons=frozenset(_PERSONS[word] for word in words if word in _PERSONS),
        question=_question(words),
        aspects=_aspects(words),
        initials="".join([word[0] for word in words]),
        trigrams=_trigrams(words),
    )


def _add(draft: _Draft, token: Token, previous: str) -> None:
    text = token.text
    lower = text.lower()
    if token.kind == "number":
        value, unit, word = read_number(text)
        draft.words.append(word)
        draft.numbers.append(value)
        if unit:
            draft.units.append(unit)
    elif token.kind == "code":
        draft.words.append(lower)
        draft.identifiers.append(text.strip("`"))
    elif token.kind == "ideograph":
        draft.words.append(text)
    else:
        _add_word(draft, token, lower, previous)


def _add_word(draft: _Draft, token: Token, lower: str, previous: str) -> None:
    text = token.text
    if text == "US":
        lower = "usa"
    if is_identifier(text):
        draft.identifiers.append(text)
    unit = lexicon.UNITS.get(lower)
    if unit and not _is_ordinal(lower, previous):
        draft.units.append(unit)
    if lower in lexicon.SCALES and draft.numbers and draft.words[-1:] == [draft.numbers[-1]]:
        draft.numbers[-1] += "0" * lexicon.SCALES[lower]  # "3 million" is one number
    elif number := _number_of_word(text, lower, previous):
        draft.numbers.append(number)
        draft.words.append(number)
        return
    if text[0].isupper() and not token.is_initial and _is_name(text, lower, previous):
        draft.names.append(expand(lower)[0])
    draft.words.extend(expand(lower))


def _is_name(text: str, lower: str, previous: str) -> bool:
    """Tell whether a capital means a name here: "I" is none, nor is the "A" of a title, but "group A" is."""
    if lower.partition("'")[0] in lexicon.STOP:
        return len(text) == 1 and text != "I" and previous.islower() and previous not in lexicon.STOP
    return True


def _number_of_word(text: str, lower: str, previous: str) -> str | None:
    if text in lexicon.ROMAN:
        return lexicon.ROMAN[text]
    if text == "I" and previous.lower() in lexicon.COUNTED:
        return "1"
    if lower == "one" and previous.lower() in lexicon.COUNTED:
        return "1"
    return "2" if _is_ordinal(lower, previous) else lexicon.NUMBER_WORDS.get(lower)


def _is_ordinal(lower: str, previous: str) -> bool:
    """Tell the second from a second."""
    return lower == "second" and not previous.isdecimal() and previous.lower() not in lexicon.BEFORE_A_SECOND


def _join(words: list[str]) -> tuple[str, ...]:
    """Make one word of "united states" and its like."""
    joined: list[str] = []
    for word in words:
        pair = JOINED.get((joined[-1], word)) if joined else None
        if pair:
            joined[-1] = pair
        else:
            joined.append(word)
    return tuple(joined)


def _negations(words: tuple[str, ...]) -> int:
    """Count what turns a sentence round; idioms that turn nothing are left out."""
    count = 0
    for at, word in enumerate(words):
        if word in lexicon.NEGATIONS:
            before = words[at - 1] if at else ""
            after = words[at + 1] if at + 1 < len(words) else ""
            is_idiom = before == "or" or after in _NOT_NEGATED or words[at - 2 : at] == ("or", "why")
            count += not is_idiom
    return count


def _question(words: tuple[str, ...]) -> str:
    for at, word in enumerate(words):
        if word in _QUESTIONS:
            after = words[at + 1] if at + 1 < len(words) else ""
            return f"how {after}" if word == "how" and after in _HOW else word
    return ""


def _trigrams(words: tuple[str, ...]) -> frozenset[str]:
    line = f" {' '.join(words)} "
    return frozenset([line[at : at + 3] for at in range(len(line) - 2)])


def _aspects(words: tuple[str, ...]) -> frozenset[str]:
    """Return the words that shift a statement in time or scope ("used to", "still", "without")."""
    found = {word for word in words if word in lexicon.ASPECTS}
    for at, word in enumerate(words):
        if word == "used" and words[at + 1 : at + 2] == ("to",) and not _is_passive(words, at):
            found.add("used to")
        elif word == "become" and not _HAPPENED.isdisjoint(words):
            found.add("became")
    return frozenset(found)


def _is_passive(words: tuple[str, ...], at: int) -> bool:
    """Tell "salt is used to" from "people used to"."""
    return not lexicon.BE.isdisjoint(words[max(0, at - _PASSIVE_REACH) : at])
