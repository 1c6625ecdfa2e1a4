"""Starts a command that ends when its parent does, even if the parent is killed.

Run as a script: `python -I leash.py PARENT_PID COMMAND…`. A script and not `preexec_fn`: gRPC runs
threads in the parent, and between fork and exec no Python is safe there.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def hold(signal_number: int) -> None:
    """Have the kernel send us this when our parent is gone; only Linux knows how."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)


def main(arguments: list[str]) -> int:
    """Become the command; return only if that fails, or the parent is gone already."""
    parent, *command = arguments
    hold(signal.SIGKILL)
    if os.getppid() != int(parent):
        return 1
    try:
        os.execvp(command[0], command)  # noqa: S606 - the parent chose the command
    except OSError as error:
        print(f"{command[0]} cannot be executed: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":  # pragma: no cover - every child is started by it
    sys.exit(main(sys.argv[1:]))
