"""What is known of a word by itself, remembered: most of a prompt was seen before, word by word.

    text ── at blanks ──▶ chunks ── remembered ──▶ pieces ── all but what depends on the neighbours ──▶ words

1. A prompt is taken apart right after an inference, when nothing is in the processor's caches. So a chunk is one place
   to look at, and not a pattern and a dozen tables for each of its words.
2. Chunks stand for themselves: no token but code in backticks has blanks in it, and what looks beyond its own end
   (a lone `<`) or needs the end of a line is read with the whole text.
3. Whatever could depend on the word before (`second`, `part I`, a capital) is not `is_plain`, and is looked at where
   it stands.
4. Bounded: when `_CHUNKS_MAX` or `_WORDS_MAX` are full, all are forgotten at once, since what is common is back at
   once, and an order of use would be one more thing to touch. Long chunks are read each time.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from semcache.verifier import lexicon
from semcache.verifier.classes import JOINED, MEMBER_OF
from semcache.verifier.words import expand, is_identifier, stem, tokens

# 3 MB of each.
_CHUNKS_MAX = 8_192
_WORDS_MAX = 8_192
_CHUNK_CHARACTERS_MAX = 32
_WORD_CHARACTERS_MAX = 32

_GENDERS = dict.fromkeys(("she", "her", "hers", "herself"), "she") | dict.fromkeys(
    ("he", "him", "his", "himself"), "he"
)
_PERSONS = (
    dict.fromkeys(("i", "me", "my", "mine", "myself", "we", "us", "our", "ours"), "I")
    | dict.fromkeys(("you", "your", "yours", "yourself"), "you")
    | dict.fromkeys((*_GENDERS, "they", "them", "their", "theirs"), "they")
)
_QUESTIONS = frozenset(("who", "whom", "whose", "when", "where", "why", "how", "which", "what"))
# Words that are an aspect of something only with others: "used to", "has become".
_HALF_ASPECTS = frozenset(("used", "become"))
_SECONDS = frozenset(second for _, second in JOINED)


@dataclass(frozen=True, slots=True)
class Word:
    """A word, in lower case."""

    text: str
    stem: str
    is_content: bool
    """Whether it is none of the function words."""
    is_marked: bool
    """Whether it is anything of what follows."""
    ends_pair: bool
    """Whether it may make one word with the one before: "states"."""
    member: str
    """Of a closed class, as `class:member`."""
    gender: str
    person: str
    is_question: bool
    is_negation: bool
    is_aspect: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A token, and all that can be said of it wherever it stands."""

    text: str
    kind: str  # as `Token.kind`
    lower: str
    is_plain: bool
    """Nothing but its words, except where it has a capital that means something."""
    is_capital: bool
    words: tuple[Word, ...]


def pieces(text: str) -> Iterable[Piece]:
    """Return the tokens of `text` with what is known of them."""
    if "\n" in text or "`" in text or "<" in text or ">" in text:
        return _pieces(text)
    return [piece for chunk in text.split() for piece in _chunks[chunk]]


def word_of(text: str) -> Word:
    """Return what is known of a word in lower case."""
    return _words[text]


def _pieces(text: str) -> tuple[Piece, ...]:
    return tuple([_piece(token.text, token.kind) for token in tokens(text)])


def _piece(text: str, kind: str) -> Piece:
    lower = text.lower()
    if kind == "ideograph":
        return Piece(text, kind, lower, True, False, (_words[text],))
    if kind != "word":
        return Piece(text, kind, lower, False, False, ())
    depends = lower in _DEPENDENT or text in lexicon.ROMAN or text == "US" or is_identifier(text)
    return Piece(text, kind, lower, not depends, text[0].isupper(), tuple([_words[word] for word in expand(lower)]))


_DEPENDENT = frozenset(("i", "one", "second", *lexicon.UNITS, *lexicon.SCALES, *lexicon.NUMBER_WORDS))


def _word(text: str) -> Word:
    member, gender, person = MEMBER_OF.get(text, ""), _GENDERS.get(text, ""), _PERSONS.get(text, "")
    is_question, is_negation, ends_pair = text in _QUESTIONS, text in lexicon.NEGATIONS, text in _SECONDS
    is_aspect = text in lexicon.ASPECTS or text in _HALF_ASPECTS
    return Word(
        text,
        stem(text),
        text not in lexicon.STOP,
        bool(member or gender or person or is_question or is_negation or ends_pair or is_aspect),
        ends_pair,
        member,
        gender,
        person,
        is_question,
        is_negation,
        is_aspect,
    )


class _Chunks(dict[str, tuple[Piece, ...]]):
    """Chunks that were seen; not an LRU cache of the standard library, which touches three neighbours for each."""

    def __missing__(self, chunk: str) -> tuple[Piece, ...]:
        made = _pieces(chunk)
        if len(chunk) <= _CHUNK_CHARACTERS_MAX:
            if len(self) >= _CHUNKS_MAX:
                self.clear()
            self[chunk] = made
        return made


class _Words(dict[str, Word]):
    """Words that were seen."""

    def __missing__(self, text: str) -> Word:
        made = _word(text)
        if len(text) <= _WORD_CHARACTERS_MAX:
            if len(self) >= _WORDS_MAX:
                self.clear()
            self[text] = made
        return made


_chunks = _Chunks()
_words = _Words()
