"""`python -m semcache`: the service under its environment."""

from __future__ import annotations

import sys

from semcache.app import main

if __name__ == "__main__":  # pragma: no branch - it is run and not imported
    sys.exit(main())
