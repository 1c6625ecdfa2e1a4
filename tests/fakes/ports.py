"""Ports for the servers of tests and benches, which nobody takes between the choice and the server's start."""

from __future__ import annotations

import contextlib
import random
import socket

# Below the range from which the kernel takes the near ends of connections, so that none takes a port chosen here.
_PORTS = range(12_000, 32_000)
# Not `random`'s own generator: test runners seed it alike in every worker, and all would choose the same ports.
_dice = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Choose a port of 127.0.0.1 that nobody listens on, never the same twice."""
    while True:
        port = _dice.choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            if port not in _given:
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port
