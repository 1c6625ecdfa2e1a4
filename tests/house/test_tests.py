"""What tests owe: no sleeping, and one of them for every Envoy configuration."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.sources import ROOT, name, tracked

# Recorded answers are replayed against a real clock: a window of it is part of what they show.
TESTS = [path for path in tracked("tests/*.py") if "conformance" not in path.parts]

# Long enough for other tasks to run, too short for anything to be built on it.
TURN_SECONDS = 0.05


def sleeps(path: Path) -> Iterator[str]:
    """Yield what sleeps outside of a loop (which looks at a condition again) without a comment above that says why."""
    text = path.read_text(encoding="utf-8")
    if "sleep(" not in text:
        return
    tree = ast.parse(text)
    loops = [node for node in ast.walk(tree) if isinstance(node, (ast.While, ast.For, ast.AsyncFor))]
    looped = {id(node) for loop in loops for node in ast.walk(loop)}
    for node in ast.walk(tree):
        match node:
            case ast.Await(ast.Call(ast.Attribute(ast.Name("asyncio"), "sleep"), [duration])):
                pass
            case ast.Expr(ast.Call(ast.Attribute(ast.Name("time"), "sleep"), [duration])):
                pass
            case _:
                continue
        is_turn = isinstance(duration, ast.Constant) and float(str(duration.value)) <= TURN_SECONDS
        is_explained = text.splitlines()[node.lineno - 2].lstrip().startswith("#")
        if not is_turn and id(node) not in looped and not is_explained:
            yield f"{name(path)}:{node.lineno}"


def test_no_test_sleeps() -> None:
    found = [line for path in TESTS for line in sleeps(path)]

    assert found == [], "wait for a condition, or turn the fake clock"


def test_every_envoy_configuration_is_run_by_a_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in tracked("tests/e2e/*.py"))
    configurations = (ROOT / "deploy" / "envoy").glob("*.yaml")

    assert sorted(path.name for path in configurations if f'"{path.name}"' not in tests) == []
