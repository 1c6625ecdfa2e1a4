"""`make docs`: writes what is generated into the documents, between the marks that say so.

<!-- written by make docs: settings -->
…                                              everything between the marks is replaced
<!-- end of what make docs writes -->
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from docs import namespace_table
from docs.settings_tables import groups, heading, is_used, own_fields, table, variable
from ratelimit.settings import ABSENT
from semcache.namespaces import Namespace
from serving.environment import NOT_USED

HERE = Path(__file__).parent

# In the order of the page. A package whose settings are not here is found by tests/house.
MODULES = {
    "serving.settings": "Every process",
    "ratelimit.settings": "The rate limit service",
    "semcache.settings": "The semantic cache",
}
_PART = re.compile(
    r"(?P<open><!-- written by make docs: (?P<name>\w+) -->\n)(?P<text>.*?)(?P<close><!-- end of what make docs writes -->)",
    re.DOTALL,
)


def settings() -> str:
    """Return all settings, a table for each block."""
    lines = []
    for name, title in MODULES.items():
        lines += [f"### {title}", ""]
        for group in groups(importlib.import_module(name)):
            lines += [heading(group), table(group), ""]
    return "\n".join(lines)


def unused() -> str:
    """Return the names that are accepted and do nothing."""
    rows = [
        f"- `{variable(group, field)}`: {' '.join((info.description or '').split()).removeprefix(NOT_USED)}"
        for name in MODULES
        for group in groups(importlib.import_module(name))
        for field, info in own_fields(group).items()
        if not is_used(info)
    ]
    absent = [f"- `{prefix}…`: {why}." for prefix, why in ABSENT.items()]
    return "\n".join([*sorted(rows + absent), ""])


def namespaces() -> str:
    """Return the keys of a namespace of the semantic cache."""
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *namespace_table.rows(Namespace), ""])


PARTS = {"settings": settings, "unused": unused, "namespaces": namespaces}


def fill(text: str) -> str:
    """Return a document with its generated parts written anew."""
    return _PART.sub(lambda found: f"{found['open']}\n{PARTS[found['name']]()}\n{found['close']}", text)


def main() -> None:
    """Write every document that has such a part."""
    for path in sorted(HERE.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (filled := fill(text)) != text:
            path.write_text(filled, encoding="utf-8")
            print(f"wrote {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
