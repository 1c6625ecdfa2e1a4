"""What the guards and features know of one prompt; read once, compared with every candidate."""

from dataclasses import dataclass
from typing import NamedTuple

from semcache.verifier import lexicon
from semcache.verifier.classes import JOINED
from semcache.verifier.numbers import operations, read_number
from semcache.verifier.pieces import Piece, Word, pieces, word_of
from semcache.verifier.words import is_identifier

_NOT_NEGATED = ("only", "matter", "just")
_HAPPENED = frozenset(("did", "has", "have", "had"))
_HOW = ("many", "much", "long", "old", "far", "often", "big", "tall", "high", "deep", "fast", "soon", "late")
_NONE: frozenset[str] = frozenset()
# Words from "is" to "used": "is all that salt used to".
_PASSIVE_REACH = 4


class Reading(NamedTuple):
    """A prompt, taken apart (a named tuple: two are made for most lookups, and a dataclass sets field by field)."""

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


@dataclass(slots=True)
class _Draft:
    """The lists that grow while the tokens go by."""

    words: list[Word]
    numbers: list[str]
    units: list[str]
    names: list[str]
    identifiers: list[str]


def read(text: str) -> Reading:
    """Take a prompt apart."""
    draft = _Draft([], [], [], [], [])
    words, previous, is_initial = draft.words, "", True
    for piece in pieces(text):
        if piece.kind == "stop":
            is_initial = True
            continue
        # A capital says nothing where a sentence starts.
        if piece.is_plain and (is_initial or not piece.is_capital):
            words += piece.words
        else:
            _add(draft, piece, previous, is_name=piece.is_capital and not is_initial)
        previous, is_initial = piece.text, False
    return _reading(text, draft)


def _reading(text: str, draft: _Draft) -> Reading:
    words = draft.words
    marked = [word for word in words if word.is_marked]
    if any(word.ends_pair for word in marked):
        words = _join(words)
        marked = [word for word in words if word.is_marked]
    texts = tuple([word.text for word in words])
    return Reading(
        text=text,
        words=texts,
        vocabulary=frozenset(texts),
        stems=tuple([word.stem for word in words]),
        content=tuple([word.stem for word in words if word.is_content]),
        numbers=tuple(sorted(draft.numbers)),
        operations=operations(text) if draft.numbers else _NONE,
        units=frozenset(draft.units),
        names=frozenset(draft.names),
        members=frozenset([word.member for word in marked if word.member]),
        identifiers=frozenset(draft.identifiers),
        negations=_negations(texts) if any(word.is_negation for word in marked) else 0,
        genders=tuple([word.gender for word in marked if word.gender]),
        persons=frozenset([word.person for word in marked if word.person]),
        question=_question(texts, marked),
        aspects=_aspects(texts) if any(word.is_aspect for word in marked) else _NONE,
    )


def _add(draft: _Draft, piece: Piece, previous: str, *, is_name: bool) -> None:
    if piece.kind == "number":
        value, unit, word = read_number(piece.text)
        draft.words.append(word_of(word))
        draft.numbers.append(value)
        if unit:
            draft.units.append(unit)
    elif piece.kind == "code":
        draft.words.append(word_of(piece.lower))
        draft.identifiers.append(piece.text.strip("`"))
    else:
        _add_word(draft, piece, previous, is_name=is_name)


def _add_word(draft: _Draft, piece: Piece, previous: str, *, is_name: bool) -> None:
    text, lower, words = piece.text, piece.lower, piece.words
    if text == "US":
        lower, words = "usa", (word_of("usa"),)
    if not piece.is_plain:
        if is_identifier(text):
            draft.identifiers.append(text)
        unit = lexicon.UNITS.get(lower)
        if unit and not _is_ordinal(lower, previous):
            draft.units.append(unit)
        if lower in lexicon.SCALES and draft.numbers and draft.words and draft.words[-1].text == draft.numbers[-1]:
            draft.numbers[-1] += "0" * lexicon.SCALES[lower]  # "3 million" is one number
        elif number := _number_of_word(text, lower, previous):
            draft.numbers.append(number)
            draft.words.append(word_of(number))
            return
    if is_name and _is_name(text, lower, previous):
        draft.names.append(words[0].text)
    draft.words.extend(words)


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


def _join(words: list[Word]) -> list[Word]:
    """Make one word of "united states" and its like."""
    joined: list[Word] = []
    for word in words:
        pair = JOINED.get((joined[-1].text, word.text)) if word.ends_pair and joined else None
        if pair:
            joined[-1] = word_of(pair)
        else:
            joined.append(word)
    return joined


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


def _question(words: tuple[str, ...], marked: list[Word]) -> str:
    first = next((word.text for word in marked if word.is_question), "")
    if first != "how":
        return first
    after = words[words.index("how") + 1 :][:1]
    return f"how {after[0]}" if after and after[0] in _HOW else first


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
