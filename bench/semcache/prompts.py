"""Distinct questions of 20 tokens as all-MiniLM-L6-v2 counts, the same ones in other words, and vectors for many more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_VERBS = ["change", "cancel", "track", "export", "share", "verify", "reset", "update", "renew", "merge"]
_NOUNS = ["address", "receipt", "password", "schedule", "label", "discount", "report", "photo", "deposit", "signature"]
_THINGS = ["account", "order", "contract", "project", "delivery", "booking", "policy", "device", "loan", "ticket"]
_STATES = ["is locked", "has expired", "got lost", "looks wrong", "stays empty"]
_PLACES = ["mobile app", "online shop", "control panel", "customer portal", "partner website"]
_MONTHS = ["January", "March", "May", "July", "September", "October", "November", "December"]

# A vector with so much noise has a cosine of about .9 to the one it was made of: near, and not the same.
_JITTER = 0.48


def questions(count: int) -> Sequence[str]:
    """Return distinct questions, the same ones every time, in an order without pattern; numbered from 200,000 on."""
    every = list(product(_VERBS, _NOUNS, _THINGS, _STATES, _PLACES, _MONTHS))
    order = np.random.default_rng(5).permutation(len(every))
    asked = [_ask("How do I", *every[order[number % len(every)]]) for number in range(count)]
    return asked[: len(every)] + [f"{asked[n]} Case {n // len(every)}." for n in range(len(every), count)]


def paraphrases(count: int) -> Sequence[str]:
    """Return the first of the questions in other words."""
    return [question.replace("How do I", "How can I", 1) for question in questions(count)]


def spread(vectors: Vectors, count: int, seed: int = 3) -> Vectors:
    """Return `count` vectors: those given, and then the same ones with jitter."""
    dice = np.random.default_rng(seed)
    wide = np.empty((count, vectors.shape[1]), np.float32)
    wide[: len(vectors)] = vectors[:count]
    scale = _JITTER / np.sqrt(vectors.shape[1])
    for start in range(len(vectors), count, len(vectors)):
        part = vectors[: count - start]
        noisy = part + dice.normal(0, scale, part.shape).astype(np.float32)
        wide[start : start + len(part)] = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
    return wide


def _ask(start: str, verb: str, noun: str, thing: str, state: str, place: str, month: str) -> str:  # noqa: PLR0913, PLR0917 - the words of one sentence
    return f"{start} {verb} my {thing} {noun} from {month} when it {state} in the {place}?"
