"""Questions of the corpus with one number, place or name changed: alike in every other way, and never to be served.

Some of these words are in the verifier's classes and some are not; "no class" is for names that none has.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from bench.quality.data import Pair

Swap = Callable[[str, random.Random], str | None]

_NUMBER = re.compile(r"(?<![\w.$])(\d{1,4})(?![\w.%])")
_PLACES = (
    "India", "China", "Japan", "Germany", "France", "Canada", "Australia", "Pakistan", "Russia", "Brazil", "Mumbai",
    "Delhi", "Bangalore", "London", "Paris", "Chicago", "Boston", "Texas", "California", "Hyderabad", "Chennai", "Pune",
)  # fmt: skip
_PEOPLE = (
    "Trump", "Clinton", "Obama", "Modi", "Hitler", "Einstein", "Gandhi", "Putin", "Sanders", "Kejriwal", "Messi",
    "Ronaldo", "Kohli", "Tesla", "Newton", "Jobs", "Gates", "Musk", "Zuckerberg", "Shakespeare",
)  # fmt: skip
_PRODUCTS = (
    "Quora", "Google", "Facebook", "Instagram", "WhatsApp", "Twitter", "YouTube", "Amazon", "Microsoft", "Apple",
    "Netflix", "Uber", "Snapchat", "LinkedIn", "Samsung", "Python", "Java", "Android", "Windows", "Linux", "iPhone",
)  # fmt: skip

_NOT_LISTED = (
    "Zomato", "Coursera", "Udemy", "Spotify", "Stripe", "Slack", "Shopify", "Hogwarts", "Gotham", "Harvard", "Stanford",
    "Oxford", "MIT", "IIT", "NIT", "BITS", "SBI", "HDFC", "Jio", "Airtel", "Vodafone", "BJP", "Congress", "Bollywood",
    "Hollywood", "Batman", "Superman", "Harry", "Naruto", "Pokemon", "Minecraft", "Deloitte", "Goldman", "McKinsey",
)  # fmt: skip


def _swap_number(text: str, draw: random.Random) -> str | None:
    match = _NUMBER.search(text)
    if match is None:
        return None
    value = int(match[1])
    other = value + draw.choice([1, 2, 3, 5, 10])
    return f"{text[: match.start()]}{other}{text[match.end() :]}"


def _swap_word(words: Sequence[str]) -> Swap:
    pattern = re.compile(rf"\b(?:{'|'.join(words)})\b")

    def swap(text: str, draw: random.Random) -> str | None:
        match = pattern.search(text)
        if match is None:
            return None
        other = draw.choice([word for word in words if word not in text])
        return f"{text[: match.start()]}{other}{text[match.end() :]}"

    return swap


SWAPS: dict[str, Swap] = {
    "numbers": _swap_number,
    "places": _swap_word(_PLACES),
    "people": _swap_word(_PEOPLE),
    "products": _swap_word(_PRODUCTS),
    "names of no class": _swap_word(_NOT_LISTED),
}


def swapped(texts: Sequence[str], swap: Swap, count: int, seed: int) -> list[Pair]:
    """Return up to `count` questions with what `swap` makes of them."""
    draw = random.Random(seed)
    found = []
    for text in draw.sample(texts, len(texts)):
        other = swap(text, draw)
        if other is not None:
            found.append(Pair(text, other, is_same=False))
        if len(found) == count:
            break
    return found
