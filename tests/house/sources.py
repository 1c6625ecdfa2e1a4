"""The files that the house tests read."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("serving", "ratelimit", "semcache", "extproc", "weir")


@lru_cache
def tracked(*patterns: str) -> tuple[Path, ...]:
    """List the files of the project, those not yet added too; none that is ignored."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return tuple(path for path in (ROOT / line for line in sorted(set(listed))) if path.is_file())


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Yield every Python file of the packages, parsed."""
    for path in tracked(*(f"{package}/*.py" for package in PACKAGES)):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    """Return a path as the test's id."""
    return str(path.relative_to(ROOT))
