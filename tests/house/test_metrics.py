"""Metrics: each has a row in docs/metrics.md, and is called by the words of the glossary."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from ratelimit.accounting import METERING, PREFIX, STATS
from semcache.gauges import GATES
from semcache.sweeper import ENTRIES, ENTRIES_MAX
from serving.sinks.prometheus import mapped
from tests.house.sources import ROOT, modules

ROW = re.compile(r"^\| `([^`]+)` \| (?:`(\w+)`|by its dotted name) \| ([cgh]) \| (.+) \|$", re.MULTILINE)
ROWS: dict[str, tuple[str, str, str]] = {
    name: (series, kind, about)
    for name, series, kind, about in ROW.findall((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"))
}
MAKERS = {"counter": "c", "gauge": "g", "timer": "h"}

# Words for which the glossary has another, or that mean something else there. The reference's own names stand.
WORDS = {
    "throttled", "exceeded", "decision", "delta", "interval", "granularity", "tag", "tags", "threshold", "namespace",
    "precharge", "dryrun", "result", "collection", "partition", "question", "record", "document", "point", "upsert",
    "cutoff", "judge", "reranker", "distance", "leakage", "bulk", "fallback",
}  # fmt: skip


def template(node: ast.expr, constants: dict[str, str]) -> str:
    """Return a name as it is documented: what is filled in stands in pointed brackets."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            return "".join(template(part, constants) for part in parts)
        case ast.FormattedValue(ast.Name(name)):
            return constants.get(name, f"<{name}>")
        case ast.FormattedValue(ast.Attribute(attr=name)):
            return f"<{name.strip('_')}>"
    return f"<{ast.unparse(node)}>"


def made(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the name and kind of every metric that a module asks the registry for."""
    constants = {
        target.id: node.value.value
        for node in ast.walk(module)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(module):
        match node:
            case ast.Call(
                ast.Attribute(ast.Name("registry") | ast.Attribute(attr="registry" | "_registry"), kind), [name, *_]
            ):
                if kind in MAKERS:
                    yield template(name, constants), MAKERS[kind]


MADE = (
    {name: kind for _, module in modules() for name, kind in made(module)}
    | dict.fromkeys(METERING.values(), "c")
    | dict.fromkeys([*GATES.values(), ENTRIES, ENTRIES_MAX], "g")
    | {f"{PREFIX}<domain>.{'' if stat == 'domain_not_found' else '<rule>.'}{stat}": "c" for stat in STATS}
)


def test_metrics_are_found_in_the_code() -> None:
    assert MADE["weir.calls.rejected"] == "c"
    assert MADE["ratelimit.localcache.entryCount"] == "g"
    assert MADE["ratelimit.<pool>.errors"] == "c"


def test_every_metric_is_explained_and_every_one_explained_exists() -> None:
    explained = {name: kind for name, (_, kind, _) in ROWS.items()}

    assert explained == MADE, "docs/metrics.md has one row for each metric: name, Prometheus, c g or h, meaning"


@pytest.mark.parametrize("name", sorted(ROWS))
def test_its_prometheus_name_is_the_one_it_has(name: str) -> None:
    series, kind, _ = ROWS[name]
    filled = name.replace("<domain>", "domain").replace("<rule>", "rule").replace("<pool>", "redis_pool")
    # The reference's histogram is mapped by the page itself.
    is_reference = kind == "h" and name.endswith(".response_time")
    expected = "ratelimit_service_response_time_seconds" if is_reference else mapped(filled)[0]

    assert (series or mapped(filled)[0]) == expected


@pytest.mark.parametrize("name", sorted(MADE))
def test_it_is_called_by_the_words_of_the_glossary(name: str) -> None:
    words = set(re.split(r"[._]", name))

    assert words & WORDS == set()
