"""Ports for the servers of tests and benches, which nobody takes between the choice and the server's start."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Below the range from which the kernel takes the near ends of connections, so that none takes a port chosen here.
_PORTS = range(12_000, 32_000)
# Not `random`'s own generator: test runners seed it alike in every worker, and all would choose the same ports.
_dice = random.SystemRandom()
_given: set[int] = set()
# Its bytes stand for ports: who has one locked may start a server there, and the kernel lets go when a process ends.
# Other workers, and other runs on this machine, look here too, so it must never be removed.
_claims = os.open(Path(tempfile.gettempdir()) / f"weir-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)


def free_port() -> int:
    """Choose a port of 127.0.0.1 that nobody listens on, and that no process of tests is ever given meanwhile."""
    while True:
        port = _dice.choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            if port not in _given:
                fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
                _given.add(port)
                probe.bind(("127.0.0.1", port))
                return port


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process of tests is in here: for programs that choose their ports themselves, all the same ones."""
    fcntl.lockf(_claims, fcntl.LOCK_EX, 1, 0)
    try:
        yield
    finally:
        fcntl.lockf(_claims, fcntl.LOCK_UN, 1, 0)
