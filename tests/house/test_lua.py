"""What a Lua script owes its reader: duty, KEYS, ARGV, what it returns, and why it is a script."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(ROOT.glob("*/redis_scripts/*.lua"))


def header(script: Path) -> str:
    lines = script.read_text(encoding="utf-8").splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return "\n".join(lines[:end])


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.name for path in SCRIPTS])
@pytest.mark.parametrize("word", ["KEYS", "ARGV", "Returns", "-- A script"])
def test_a_script_says_what_it_takes_gives_and_why_it_is_one(script: Path, word: str) -> None:
    text = header(script)

    assert word in text
