"""What a prompt is before it is hashed and embedded: one spelling for texts that no reader tells apart."""

import re
import unicodedata

# Zero-width characters, soft hyphens and byte-order marks: invisible, so they must not part two prompts.
_INVISIBLE = re.compile("[\u00ad\u200b\u200c\u200d\u2060\ufeff\ufe0e\ufe0f]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_LINE_END = re.compile("\r\n?|\x85|\u2028|\u2029|\x0b|\x0c")
_LINE_TAIL = re.compile(r"[^\S\n]+(?=\n)")
_BLANK_LINES = re.compile(r"\n{3,}")
_BLANKS = re.compile(r"\s+")
_PLAIN_QUOTES = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201b": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "}
)
# Where one of these stands, a run of blanks may be inside a literal.
_LITERAL = re.compile(r"[`\"]")


def normalise(text: str) -> str:
    """Return the one spelling of `text`; doing it twice changes nothing.

    Letters keep their case ("US" is not "us") and digits their form (NFC, not
    NFKC: x² is not x2). Runs of blanks become one only in a prompt of one line
    without literals: elsewhere indentation and spacing can be the question.
    """
    # Most prompts: nothing below has anything to do but with their blanks, and six patterns are a lot to find that out.
    if text.isascii() and text.isprintable():
        return text.rstrip() if "`" in text or '"' in text else " ".join(text.split())
    text = _LINE_END.sub("\n", text)
    text = _CONTROL.sub("", _INVISIBLE.sub("", text))
    text = unicodedata.normalize("NFC", text).translate(_PLAIN_QUOTES)
    if "\n" not in text.strip() and not _LITERAL.search(text):
        return _BLANKS.sub(" ", text).strip()
    text = _BLANK_LINES.sub("\n\n", _LINE_TAIL.sub("", text))
    return text.strip("\n").rstrip()
