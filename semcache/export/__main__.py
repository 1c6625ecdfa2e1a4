"""`python -m semcache.export FOLDER`: write down what sentence-transformers makes of a model, to compare exports with."""

from __future__ import annotations

import sys
from pathlib import Path

from semcache.export import reference
from semcache.export.model import revision_of

if __name__ == "__main__":  # pragma: no branch - it is run and not imported
    folder = Path(sys.argv[1])
    sys.stdout.write(f"{reference.record(folder, revision_of(folder))}\n")
