"""What every file owes its reader."""

from __future__ import annotations

import ast
import fnmatch
import re
from pathlib import Path

from tests.house.sources import ROOT, name, tracked

LINES_MAX = 400
CODE = tracked("*.py", "*.lua", "*.proto")
BINARY = {".npz", ".gz", ".png", ".onnx"}

# Places that only one machine has, and hosts that only some networks reach. In halves, or this file would hold them.
FOREIGN = re.compile(
    "|".join(
        ["/work" + "/", "/home" + r"/\w", "index" + "-url", r"pypi\." + "org", r"npmjs\." + "org", r"golang\." + "org"]
    )
)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def head(path: Path) -> str:
    """Return what a file says before it begins."""
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(text_of(path))) or ""
    return "\n".join(line for line in text_of(path).splitlines()[:40] if line.startswith(("--", "//")))


def exports(path: Path) -> list[list[str]]:
    return [
        list(ast.literal_eval(node.value))
        for node in (ast.parse(text_of(path)).body if "__all__" in text_of(path) else ())
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]


def test_a_long_file_says_at_its_head_why_it_is_one_file() -> None:
    long = [path for path in CODE if text_of(path).count("\n") > LINES_MAX]

    assert [name(path) for path in long if "one file" not in head(path).lower()] == [], "split it, or `One file: why`"


def test_no_file_names_a_machine_or_a_registry() -> None:
    texts = [path for path in tracked() if path.suffix not in BINARY]

    assert [name(path) for path in texts if FOREIGN.search(text_of(path))] == []


def test_what_a_module_exports_is_sorted() -> None:
    modules = [path for path in CODE if path.suffix == ".py"]

    assert [name(path) for path in modules if any(names != sorted(names) for names in exports(path))] == []


def test_links_of_documents_lead_somewhere() -> None:
    links = {
        (path, link) for path in tracked("*.md") for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text_of(path))
    }

    assert [f"{name(path)}: {link}" for path, link in sorted(links) if not (path.parent / link).exists()] == []


# Made by a run, and not kept.
MADE = {"bench/results/local"}


def test_paths_that_documents_name_exist() -> None:
    named = re.compile(
        r"`((?:tests|deploy|docs|examples|bench|protos|serving|ratelimit|semcache|extproc|weir)/[\w./-]*)`"
    )
    paths = {(page, path) for page in tracked("*.md") for path in named.findall(text_of(page))}

    assert [
        f"{name(page)}: {path}" for page, path in sorted(paths) if path not in MADE and not (ROOT / path).exists()
    ] == []


def test_the_recorded_answers_that_the_migration_page_points_to_exist() -> None:
    page = text_of(ROOT / "docs" / "migration.md")
    shown = re.findall(r"^\| .* \| ([^|]+) \|$", page, re.MULTILINE)
    ids = {each for cell in shown for each in re.findall(r"`([a-z][\w-]*-[\w*-]+)`", cell)}
    vectors = "".join(text_of(path) for path in tracked("tests/conformance/vectors/*.yaml"))
    known = re.findall(r"^ *- id: (\S+)|\bid: ([\w-]+)", vectors, re.MULTILINE)

    assert ids
    assert [each for each in sorted(ids) if not fnmatch.filter([a or b for a, b in known], each)] == []


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    makefile = text_of(ROOT / "Makefile")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)

    assert sorted(re.findall(r"^(\w[\w-]*):.* ## .+$", makefile, re.MULTILINE)) == sorted(phony.split())
