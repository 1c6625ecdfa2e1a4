"""Turns that mean nothing by themselves: `yes`, `continue`, `make it shorter`, `run the tests`.

    1. Nothing but numbers and words that answer, point or fill: whatever they mean was said before.
    2. Short, with a word that points at something that is not in the turn.
    3. Short, and an order about the conversation itself.
    4. A line that asks about what is shown beside it: `solve this equation`, `output of the following program`.

Equal words then mean something else in every conversation, so such turns are exact only, however near they are. The
words are English, with those of a few more languages for rule 1; a turn in another language that is missed here still
has its conversation in its scope.
"""

from __future__ import annotations

import re

_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Room for "can you explain that again please"; longer turns bring what they speak of.
_POINTING_WORDS_MAX = 6
_ORDER_WORDS_MAX = 3
_SHOWN_WORDS_MAX = 24


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_EMPTY = _set(
    """
    a an and are be but by can could did do does else for from go had has have how i if in is just let like may me more
    my no not now of ok okay on or our please so some sure thank thanks that the them then there these they thing things
    this those to too us was we were what when where which who why will with would yeah yep yes yet you your it its he
    she him her one ones again also another any anything both continue correct each either every everything exactly
    fine first further good great hello hey hi hmm huh instead last least less maybe most much nah neither next none
    nope nothing only other others perfect proceed really right same second something still true false wrong
    ja nein weiter danke bitte doch genau und warum oui non merci encore pourquoi et si sí gracias más otra porqué qué
    vale bien sim não obrigado mais tak nie да нет ещё дальше はい いいえ 続けて 是 不是 继续 好
    """
)
_POINTING = _set("it this that these those them they he she him her again instead above below previous")
_ORDERS = _set(
    """
    continue proceed go run rerun try retry fix stop undo redo repeat next shorten expand elaborate explain summarize
    summarise rewrite rephrase translate simplify clarify finish apply commit test build deploy show skip cancel confirm
    accept reject approve update revert shorter longer simpler
    """
)

_SHOWN = "|".join(
    _set(
        """
        answer article attachment chart code diagram document email equation essay exercise file function graph image
        integral list message output paragraph passage photo picture poem problem program puzzle query question quote
        screenshot script sentence snippet statement table text video
        """
    )
)
# One of these is in whatever the pattern matches, which it takes half of all the time here to find out.
_MARKS = ("this", "these", "following", "attached", "above", "below")
_BESIDE = re.compile(
    rf"\b(?:this|these|(?:the )?(?:following|attached|above|below))(?: \w+){{0,3}}? (?:{_SHOWN})s?\b"
    rf"|\b(?:{_SHOWN})s? (?:above|below|attached)\b",
    re.IGNORECASE,
)


def is_deictic(text: str) -> bool:
    """Return whether a turn means nothing without those before it."""
    # Beyond ASCII there are other letters that are equal to those of the marks but for their case.
    may_show = not text.isascii()
    if not may_show:
        lowered = text.lower()
        may_show = any(mark in lowered for mark in _MARKS)
        if not may_show and _says_enough(lowered):
            return False
    words = [word.lower() for word in _WORDS.findall(text)]
    # A number is a choice from what was offered before.
    if all(word in _EMPTY or word.isdigit() for word in words):
        return True
    if len(words) <= _POINTING_WORDS_MAX and not _POINTING.isdisjoint(words):
        return True
    # A prompt of several lines, or a long one, can hold what it speaks of.
    if may_show and "\n" not in text and len(words) <= _SHOWN_WORDS_MAX and _BESIDE.search(text):
        return True
    return len(words) <= _ORDER_WORDS_MAX and words[0] in _ORDERS


def _says_enough(lowered: str) -> bool:
    """Return True where rules 1 to 3 cannot hold; most prompts are told by this, and their words need not be found."""
    words = [word for word in lowered.split() if word.isalpha()]
    return len(words) > _POINTING_WORDS_MAX and not _EMPTY.issuperset(words)
