"""How many files and sockets the process may have open."""

from __future__ import annotations

import resource
from contextlib import suppress


def open_all_that_may_be() -> None:
    """Raise the soft limit of open files to the hard one, as Go's runtime does for the reference.

    Precedent: systemd starts services with 1,024 and lets them have 524,288. A connection before the front takes three.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where the system's own bound is lower than what it says (macOS), it stays as it is.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
