"""Documents that show configuration: what they show is what is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate import HERE, fill
from ratelimit.config.callers import read as read_callers
from semcache.config.files import load
from semcache.settings import NamespaceSettings
from tests.house.sources import ROOT

PAGES = sorted(HERE.glob("*.md"))


def blocks(page: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (HERE / page).read_text(encoding="utf-8"), re.DOTALL)


def recipes() -> list[str]:
    return re.findall(r"\]\(\.\./(examples/recipes/[\w.-]+)\)", (HERE / "cookbook.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_what_make_docs_writes(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert text == fill(text), f"run `make docs` and commit {page.name}"


def test_every_recipe_is_cooked_in_the_book_and_by_a_test() -> None:
    tests = (ROOT / "tests" / "contract" / "test_recipes.py").read_text(encoding="utf-8")
    names = sorted(path.name for path in (ROOT / "examples" / "recipes").glob("*.yaml"))

    assert sorted(Path(recipe).name for recipe in recipes()) == names
    assert [name for name in names if f'"{name}"' not in tests] == []


@pytest.mark.parametrize(("shown", "recipe"), list(zip(blocks("cookbook.md"), recipes(), strict=True)), ids=recipes())
def test_the_book_shows_the_rules_of_the_recipe(shown: str, recipe: str) -> None:
    whole: dict[str, Any] = yaml.safe_load((ROOT / recipe).read_text(encoding="utf-8"))
    part = yaml.safe_load(shown if "descriptors:" in shown.split("- key", maxsplit=1)[0] else f"descriptors:\n{shown}")

    assert {**whole, **part} == whole


def test_the_callers_that_are_shown_can_be_loaded() -> None:
    (shown,) = blocks("limiter.md")

    assert len(read_callers("limiter.md", shown.encode())) == 2


def test_the_namespaces_that_are_shown_can_be_loaded(tmp_path: Path) -> None:
    (shown,) = blocks("semcache.md")
    (tmp_path / "namespaces.yaml").write_text(shown)

    namespaces = load(tmp_path / "namespaces.yaml", NamespaceSettings())

    assert [each.name for each in namespaces.members] == ["support"]
