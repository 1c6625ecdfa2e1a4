"""`python -m ratelimit`: the service under the reference's environment."""

from __future__ import annotations

import sys

from ratelimit.app import main

if __name__ == "__main__":  # pragma: no branch - it is only ever run
    sys.exit(main(sys.argv[1:]))
