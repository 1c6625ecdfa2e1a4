"""Settings: each is explained, and none is left out of the operator's page."""

from __future__ import annotations

import ast
import importlib

import pytest

from docs.generate import MODULES
from docs.settings_tables import duration, groups, variable
from ratelimit.settings import ABSENT
from serving.settings import Group
from serving.settings import seconds as read_duration
from tests.house.sources import ROOT, modules

GROUPS: list[type[Group]] = [group for name in MODULES for group in groups(importlib.import_module(name))]
NAMES = {variable(group, field) for group in GROUPS for field in group.model_fields}

# What envoyproxy/ratelimit reads, OTEL_* left out.
REFERENCE = (ROOT / "tests" / "data" / "reference_settings.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_setting_is_explained(group: type[Group]) -> None:
    silent = [variable(group, field) for field, info in group.model_fields.items() if not info.description]

    assert silent == []


def test_no_block_of_settings_is_left_out_of_it() -> None:
    found = {
        node.name
        for _, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Group" for base in node.bases)
    }

    assert found <= {group.__name__ for group in GROUPS}, "name its module in docs/generate.py"


def test_every_name_of_the_reference_is_read() -> None:
    assert [name for name in REFERENCE if name not in NAMES and not name.startswith(tuple(ABSENT))] == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0"), (0.05, "50ms"), (90.0, "1m30s"), (86400.0, "24h"), (0.25, "250ms"), (0.5e-3, "500us")],
)
def test_a_duration_is_written_as_it_may_be_set(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    assert read_duration(text) == seconds
