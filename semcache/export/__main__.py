"""`python -m semcache.export FOLDER`: write down what sentence-transformers makes of a model, to compare exports with."""

from __future__ import annotations

import sys
from pathlib import Path

from semcache.export import reference
from semcache.export.model import revision_of

if __name__ == "__main__":  # pragma: no cover - needs sentence-transformers, and is run once per model
    folder = Path(sys.argv[1])
    sys.stdout.write(f"{reference.record(folder, revision_of(folder))}\n")
