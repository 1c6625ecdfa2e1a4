"""From text to tokens: what counts as a word, a number, an identifier, and the stem of a word."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from semcache.verifier.lexicon import CONTRACTION_TAILS, CONTRACTIONS, IRREGULAR

# Possessive and bounded where a long run could be read again and again: the time is linear in the text.
_TOKEN = re.compile(
    r"""
    (?P<code> `[^`\n]+`                                   # what the writer marked as code
            | \w{1,16}+://[^\s"'<>]++ | [\w.+-]{1,64}+@[\w-]++\.\w++   # addresses
            | (?<![\w-])--?[a-zA-Z][\w-]*                 # flags
            | (?<!\S)~?/[\w.-]+(?:/[\w.-]*)*              # paths
            | (?<!\w) (?: (?=\d*+[^\W\d])\w++(?:(?:\.|::|->|\#)\w++){0,8}+\(\)   # calls
                        | [^\W\d]\w*+(?:(?:\.|::|->)[^\W\d]\w++){1,8}+           # dotted names
                        | [^\W\d_][^\W_]*+_\w++ | _++[^\W_]\w*+ )                # snake_case
            | [==!<>+\-*/%&|^]=+ | && | \|\| | << | >> | => | <> | (?<=\s)[<>](?=\s)
    )
    | (?P<number> [$€£¥₹]?\d+(?:,\d{2,3})*(?:[.:/]\d+)*(?:%|°|[^\W_]+)? )
    | (?P<ideograph> [\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af] )
    | (?P<word> [^\W\d_][^\W_]*(?:'[^\W\d_]+)*(?:\+\+|\#)? )
    | (?P<stop> [.?!:;\n] | ["(\[] )
    """,
    re.VERBOSE,
)
_CAMEL = re.compile(r"[a-z][a-z0-9]*[A-Z]|[A-Z][a-z0-9]+[A-Z][a-z]")
_DOTTED_LETTERS = re.compile(r"\b(?:[A-Za-z]\.){2,}")


class Token(NamedTuple):
    """A token as it was written (a named tuple: made for every word of every lookup)."""

    text: str
    kind: str  # code, number, ideograph, word; stop: a sentence starts behind it


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of `text`; of punctuation only what a sentence starts behind."""
    text = _DOTTED_LETTERS.sub(lambda match: match[0].replace(".", ""), text)
    for match in _TOKEN.finditer(text):
        yield Token(match[0], match.lastgroup or "")


def is_identifier(text: str) -> bool:
    """Tell whether a word is cased like a name in a program (`camelCase`, `HashMap`)."""
    return _CAMEL.match(text) is not None


def expand(word: str) -> tuple[str, ...]:
    """Return the words that a lower-case word stands for: "don't" is two."""
    whole = CONTRACTIONS.get(word)
    if whole is not None:
        return tuple(whole.split())
    if "'" in word:
        for tail, meaning in CONTRACTION_TAILS.items():
            if word.endswith(tail):
                head = word[: -len(tail)]
                return (head, meaning) if meaning else (head,)
        return (word.replace("'", ""),)
    return (word,)


def stem(word: str) -> str:
    """Cut the endings of inflection, so that "running", "runs" and "run" are one.

    Light on purpose: a stem that joins two meanings hides a difference from
    every feature that follows.
    """
    word = IRREGULAR.get(word, word)
    if len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed", "ers", "er", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith(("ss", "us", "is")):
            word = word[: -len(ending)]
            break
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word
