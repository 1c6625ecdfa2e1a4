"""Connections are not bounded by a limit that the system lets us raise."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.processes import RatelimitProcess


def _open_files(pid: int) -> list[str]:
    """Return the soft and the hard limit."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    return line.split()[3:5]


async def test_as_many_files_may_be_open_as_the_system_allows(tmp_path: Path) -> None:
    service = RatelimitProcess(tmp_path, "domain: none\n", {})
    service.command = ["sh", "-c", 'ulimit -S -n 256 && exec "$0" "$@"', *service.command]
    await service.start()
    soft, hard = _open_files(service.process.pid)
    await service.stop()

    assert soft == hard
