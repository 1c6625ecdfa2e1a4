"""The embedder port: texts in, unit vectors out, by one model that says exactly which."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.float32]
"""(n, dimensions), each row of unit length."""

_UNSAFE = re.compile(r"[^a-z0-9.]+")
_SLUG_NAME_MAX = 48


@dataclass(frozen=True)  # without slots: it keeps its slug, which every lookup asks for
class ModelIdentity:
    """What makes two vectors comparable. Another revision or precision is another model."""

    name: str
    revision: str
    """Of the weights: a digest, in hex."""
    precision: str
    """`fp32` or `int8`."""
    dimensions: int

    @cached_property
    def slug(self) -> str:
        """Return a name for files and collections; two identities never share one."""
        name = _UNSAFE.sub("-", self.name.lower()).strip("-.")[:_SLUG_NAME_MAX]
        exact = "\n".join((self.name, self.revision, self.precision, str(self.dimensions)))
        return f"{name}-{self.precision}-{hashlib.sha256(exact.encode()).hexdigest()[:12]}"


class Tokens(NamedTuple):
    """What a model makes of a text."""

    total: int
    """Before it was cut to the model's window."""
    unknown: int = 0
    """Those within the window that stand for what the model has no token for: the same one for every emoji, say."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of some texts, and what of them was read."""

    embeddings: Embeddings
    tokens: Sequence[Tokens]
    window_tokens: int

    def tokens_unread(self, index: int) -> int:
        """Return how many tokens of that text did not reach the model, or said nothing to it."""
        tokens = self.tokens[index]
        return max(0, tokens.total - self.window_tokens) + tokens.unknown

    @property
    def comparable(self) -> Embeddings:
        """The vectors by which texts may be compared: that of a text that was not read whole is zero, and near nothing.

        Two texts that differ in what the model did not read have equal vectors.
        """
        unread = [index for index in range(len(self.tokens)) if self.tokens_unread(index)]
        if not unread:
            return self.embeddings
        comparable = self.embeddings.copy()
        comparable[unread] = 0.0
        return comparable


class Embedder(Protocol):
    """Turns texts into vectors, off the event loop."""

    @property
    def identity(self) -> ModelIdentity:
        """What the vectors are comparable with."""

    @property
    def window_tokens(self) -> int:
        """Tokens of a text that the model reads, its own marks included."""

    async def start(self) -> None:
        """Load the model.

        Raises:
            EmbedUnavailable: it cannot be loaded.
        """

    async def embed(self, texts: Sequence[str], deadline: float = math.inf) -> Embedded:
        """Return a vector for every text, in order.

        A text's vector depends on the text alone, not on those that it is embedded with. `deadline` is in seconds
        of `Clock.steady`: what has not begun by then is not done.

        Raises:
            EmbedTimeout: the deadline passed.
            EmbedUnavailable: not started, stopped, or too many texts are waiting.
        """

    async def stop(self) -> None:
        """Let the model go; texts under way get `EmbedUnavailable`."""
