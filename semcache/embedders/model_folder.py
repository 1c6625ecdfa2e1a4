"""The folder of an exported model: what the exporter writes and the embedder reads.

<model>-<precision>/
├── model.onnx        input_ids, attention_mask → embedding (and token_embeddings)
├── tokenizer.json
└── model.json        identity, window, and how near to the original it was found to be
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from semcache.embedder import ModelIdentity
from semcache.errors import EmbedUnavailable

GRAPH, TOKENIZER, DESCRIPTION = "model.onnx", "tokenizer.json", "model.json"
_REVISION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Description:
    """`model.json`."""

    name: str
    revision: str
    """Digest of graph and tokenizer: equal revisions make equal vectors."""
    precision: str
    dimensions: int
    window_tokens: int
    source_revision: str
    """Digest of the weights that it was made of."""
    similarity_min: float
    """Least cosine to the original over the texts of the check."""
    similarity_mean: float

    @property
    def identity(self) -> ModelIdentity:
        """What vectors of it are comparable with."""
        return ModelIdentity(self.name, self.revision, self.precision, self.dimensions)

    def write(self, folder: Path) -> None:
        """Put it into a folder."""
        (folder / DESCRIPTION).write_text(json.dumps(asdict(self), indent=2) + "\n")


def revision_of(graph: bytes, tokenizer: bytes) -> str:
    """Return the revision of an export."""
    return hashlib.sha256(hashlib.sha256(graph).digest() + tokenizer).hexdigest()[:_REVISION_DIGITS]


def read(folder: Path) -> tuple[Description, bytes, bytes]:
    """Return description, graph and tokenizer.

    Raises:
        EmbedUnavailable: there is no whole export.
    """
    try:
        description = Description(**json.loads((folder / DESCRIPTION).read_text()))
        graph, tokenizer = (folder / GRAPH).read_bytes(), (folder / TOKENIZER).read_bytes()
    except FileNotFoundError as error:
        raise EmbedUnavailable(
            f"no exported model: {error.filename} is missing; `weir export-model` makes one"
        ) from None
    except (TypeError, ValueError) as error:
        raise EmbedUnavailable(f"{folder / DESCRIPTION} is not a model's description: {error}") from None
    if revision_of(graph, tokenizer) != description.revision:
        raise EmbedUnavailable(f"{folder} is damaged: its files are not the revision that it says")
    return description, graph, tokenizer


def find(models: Path, slug: str) -> Path | None:
    """Return the export of this identity in a folder of models; its description is believed until it is loaded."""
    for path in sorted(models.glob(f"*/{DESCRIPTION}")):
        try:
            if Description(**json.loads(path.read_text())).identity.slug == slug:
                return path.parent
        except (OSError, TypeError, ValueError):
            continue
    return None
