"""What our wire contracts owe: every service, call, message, enum and field is explained."""

from __future__ import annotations

import re
from pathlib import Path

from tests.house.sources import name, tracked

PROTOS = tracked("protos/*.proto")
HEAD = re.compile(r"^\s*(service|rpc|message|enum) \w+")
FIELD = re.compile(r"^\s*(?:(?:repeated|optional) )?(?:map<.+>|[\w.]+) \w+ = \d+")


def silent(path: Path, pattern: re.Pattern[str]) -> list[str]:
    """Return the lines that define something and are explained neither above nor behind."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        f"{name(path)}:{number + 1}: {line.strip()}"
        for number, line in enumerate(lines)
        if pattern.match(line) and "//" not in line and not lines[number - 1].strip().startswith("//")
    ]


def test_every_service_call_message_and_enum_is_explained() -> None:
    assert [line for path in PROTOS for line in silent(path, HEAD)] == []


def test_every_field_of_our_own_messages_is_explained() -> None:
    # Fields that others defined are explained where they are theirs.
    ours = [path for path in PROTOS if "interop" not in path.parts]

    assert [line for path in ours for line in silent(path, FIELD)] == []


def test_there_are_contracts_to_read() -> None:
    assert [line for path in PROTOS for line in path.read_text(encoding="utf-8").splitlines() if HEAD.match(line)] != []
