from __future__ import annotations

from pathlib import Path

import pytest

from semcache.config.files import load, read
from semcache.errors import ConfigError
from semcache.settings import NamespaceSettings
from serving.yaml_nodes import Bounds

BOUNDS = Bounds(1_000, 20)
CALLERS = "callers: [{anyone: true, roles: [lookup, store]}]"
GOOD = f"""\
namespaces:
  - name: support
    target_error: 0.02
    ttl: {{default: 10m, max: 2h}}
    required: [tenant, model]
    {CALLERS}
"""

BAD = {
    "an unknown key": ("{name: a, colour: red, CALLERS}", "n.yaml:2: namespaces[0].colour: nobody knows this key"),
    "a missing key": ("{name: a}", "n.yaml:2: namespaces[0].callers: is missing"),
    "a bad name": (
        "{name: A B, CALLERS}",
        "n.yaml:2: namespaces[0].name: String should match pattern '^[a-z0-9][a-z0-9._-]{0,62}$' (is 'A B')",
    ),
    "a number out of range": (
        "{name: a, target_error: 1.5, CALLERS}",
        "n.yaml:2: namespaces[0].target_error: Input should be less than or equal to 0.5 (is '1.5')",
    ),
    "no duration": (
        "{name: a, ttl: {default: soon}, CALLERS}",
        "n.yaml:2: namespaces[0].ttl.default: not a duration such as 200ms, 10s or 1h30m: 'soon' (is 'soon')",
    ),
    "two ways": (
        "{name: a, target_error: 0.1, threshold: 0.9, CALLERS}",
        "n.yaml:2: namespaces[0]: has both target_error and threshold: one of them decides",
    ),
    "a key given twice": ("{name: a, name: b, CALLERS}", "n.yaml:2: key `name` is given twice"),
    "no map": ("7", "n.yaml:2: namespaces[0]: Input should be a valid dictionary or instance of Namespace (is '7')"),
}


@pytest.mark.parametrize(("member", "problem"), BAD.values(), ids=BAD.keys())
def test_a_problem_has_its_place(member: str, problem: str) -> None:
    text = f"namespaces:\n  - {member.replace('CALLERS', CALLERS)}\n"

    _, problems = read("n.yaml", text.encode(), BOUNDS)

    assert [str(each) for each in problems] == [problem]


def test_a_good_file_is_read() -> None:
    [(member, where)], problems = read("n.yaml", GOOD.encode(), BOUNDS)

    assert not problems
    assert (member.name, member.ttl.default, member.ttl.max, member.required, where.line) == (
        *("support", 600.0, 7200.0),
        *({"tenant", "model"}, 2),
    )


def test_all_problems_are_told_at_once_with_the_line_of_each() -> None:
    text = "namespaces:\n  - name: a\n    explore: 2\n    ttl:\n      max: 0\n    callers:\n      - roles: [fly]\nextra: 1\n"

    _, problems = read("n.yaml", text.encode(), BOUNDS)

    assert [problem.line for problem in problems] == [3, 5, 7, 8]


@pytest.mark.parametrize("digest", ["abc", "Z" * 64])
def test_a_digest_of_a_token_is_not_repeated(digest: str) -> None:
    text = f"namespaces:\n  - name: a\n    callers: [{{token_sha256: {digest}, roles: [lookup]}}]\n"

    _, [problem] = read("n.yaml", text.encode(), BOUNDS)

    assert digest not in str(problem)


def test_an_anchor_is_merged_below_what_the_map_says() -> None:
    text = f"base: &base {{explore: 0.2, entries_max: 5, {CALLERS}}}\nnamespaces:\n  - {{<<: *base, name: a, explore: 0.3}}\n"

    [(member, _)], problems = read("n.yaml", text.encode(), BOUNDS)

    assert (member.explore, member.entries_max) == (0.3, 5)
    assert [str(each) for each in problems] == ["n.yaml:1: base: nobody knows this key"]


@pytest.mark.parametrize("text", ["", "- a", "namespaces: 3", "namespaces: {a: b}", "a: [", "\x00"])
def test_what_is_no_list_of_namespaces_is_a_problem(text: str) -> None:
    members, problems = read("n.yaml", text.encode(), BOUNDS)

    assert (members, bool(problems)) == ([], True)


def test_a_folder_is_one_set(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yml").write_text(GOOD.replace("support", "sales"))
    (tmp_path / "notes.txt").write_text("no YAML: [")

    loaded = load(tmp_path, NamespaceSettings())

    assert [each.name for each in loaded.members] == ["sales", "support"]


def test_a_name_is_given_once_in_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("\n" + GOOD)

    with pytest.raises(ConfigError) as refused:
        load(tmp_path, NamespaceSettings())

    assert str(refused.value) == f"{tmp_path}/b.yaml:3: namespace `support` is also at {tmp_path}/a.yaml:2"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"bytes_max": 10}, "more than 10 bytes"),
        ({"files_max": 1}, "more than 1 files"),
        ({"values_max": 5}, "more than 5"),
    ],
    ids=["bytes", "files", "values"],
)
def test_files_are_bounded(tmp_path: Path, settings: dict[str, int], problem: str) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD.replace("support", "sales"))

    with pytest.raises(ConfigError, match=problem):
        load(tmp_path, NamespaceSettings(**settings))  # type: ignore[arg-type]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load(tmp_path / "none.yaml", NamespaceSettings())


def test_a_set_without_namespaces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no namespaces"):
        load(tmp_path, NamespaceSettings())
