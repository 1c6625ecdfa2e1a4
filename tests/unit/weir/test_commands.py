from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from semcache.client import CacheClient
from semcache.client.values import Forgotten
from weir.__main__ import main

GOOD = "domain: a\ndescriptors:\n  - key: user\n    rate_limit: { unit: day, requests_per_unit: 1 }\n"
MORE = "domain: a\ndescriptors:\n  - key: model\n    rate_limit: { unit: day, requests_per_unit: 1 }\n"
BAD = "domain: b\ndescriptors:\n  - key: user\n    rate_limit: { unit: fortnight }\n  - key: ''\n"


HELPED = [
    *([], ["run"], ["serve"], ["serve", "ratelimit"], ["serve", "semcache"], ["check-config"], ["check"]),
    *(["explain"], ["top"], ["counters"], ["limits"]),
    *(["ask"], ["lookup"], ["store"], ["cache"], ["calibrate"]),
]


@pytest.mark.parametrize("arguments", HELPED, ids=" ".join)
def test_every_help_has_examples(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, [*arguments, "--help"])

    assert result.exit_code == 0
    assert re.search(r"Examples.*:", result.output)


def test_good_rules_are_said_to_be_good(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)

    result = CliRunner().invoke(main, ["check-config", str(tmp_path)])

    assert (result.exit_code, result.output) == (0, "all rate limit configs ok\n")


def test_a_folder_without_rules_is_no_error_and_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check-config", str(tmp_path)])

    assert (result.exit_code, result.stdout) == (0, "all rate limit configs ok\n")
    assert result.stderr == f"{tmp_path}: there are no files in it\n"


def test_every_problem_of_every_file_is_printed_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(BAD)
    (tmp_path / "c.yaml").write_text("domain: c\nlimitz: []\n")

    result = CliRunner().invoke(main, ["check-config", str(tmp_path)])

    assert result.exit_code == 1
    assert [each.removeprefix(str(tmp_path)) for each in result.output.splitlines()] == [
        "/b.yaml:4: invalid rate limit unit 'fortnight'",
        "/b.yaml:5: descriptor has empty key",
        "/c.yaml:2: config error, unknown key 'limitz'",
    ]


@pytest.mark.parametrize(("options", "status"), [([], 1), (["--merge-domain-config"], 0)])
def test_one_domain_in_two_files_needs_the_option(tmp_path: Path, options: list[str], status: int) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(MORE)

    result = CliRunner().invoke(main, ["check-config", *options, str(tmp_path)])

    assert result.exit_code == status


def test_the_examples_are_right() -> None:
    rules = Path(__file__).parents[3] / "examples" / "rules"

    result = CliRunner().invoke(main, ["check-config", str(rules)])

    assert result.exit_code == 0


def test_run_without_an_envoy_says_what_is_missing_and_what_does_without_it() -> None:
    result = CliRunner().invoke(main, ["run", "--envoy", "/no/such/envoy"])

    assert result.exit_code == 1
    assert "Envoy is missing: /no/such/envoy cannot be executed" in result.output
    assert "weir serve ratelimit" in result.output


def test_a_service_that_cannot_start_gives_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("REDIS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BACKEND_TYPE", "nonsense")

    result = CliRunner().invoke(main, ["serve", "ratelimit"])

    assert result.exit_code != 0


@pytest.mark.parametrize("span", ["soon", "0s", "-1h"])
def test_a_limit_lives_for_a_time_that_can_be_understood(span: str) -> None:
    command = ["limits", "set", "--domain", "llm", "--tokens", "1", "--ttl", span, "tenant=acme"]

    result = CliRunner().invoke(main, command)

    assert result.exit_code == 2
    assert "is no time such as 30s or 5h" in result.output


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Counters in memory, for one process."""
    monkeypatch.setenv("BACKEND_TYPE", "memory")
    monkeypatch.setenv("WORKERS", "1")
    return monkeypatch


def test_workers_are_an_option_too(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    del environment  # it is put back afterwards

    result = CliRunner().invoke(main, ["serve", "ratelimit", "--workers", "2"])

    assert result.exit_code == 1
    assert "WORKERS: processes cannot share counters in memory" in result.output + capsys.readouterr().err


def test_both_services_are_one_process(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setenv("WORKERS", "2")

    result = CliRunner().invoke(main, ["serve"])

    assert result.exit_code == 1
    assert "weir: WORKERS: both services are one process" in result.output + capsys.readouterr().err


def test_a_cache_that_cannot_start_gives_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCACHE_GRPC_PORT", "high")

    result = CliRunner().invoke(main, ["serve", "semcache"])

    assert (result.exit_code, "SEMCACHE_GRPC_PORT" in result.output) == (1, True)


@pytest.mark.parametrize(("target", "is_told"), [("--tag", False), ("--tenant", True)])
def test_text_that_may_still_be_in_files_is_told_where_it_was_to_go(
    target: str, monkeypatch: pytest.MonkeyPatch, *, is_told: bool
) -> None:
    async def forget(*_: object, **__: object) -> Forgotten:
        return Forgotten(3, is_erased=False)

    monkeypatch.setattr(CacheClient, "invalidate", forget)

    result = CliRunner().invoke(main, ["cache", "invalidate", target, "x"])

    assert result.output.startswith("3 entries are forgotten\n")
    assert ("may be in files" in result.output) is is_told
