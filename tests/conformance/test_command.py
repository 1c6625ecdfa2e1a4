"""The command that judges a server which runs already."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.__main__ import main
from tests.conformance.launch import Start, launch
from tests.conformance.steps import Run
from tests.conformance.suites import Scenario
from tests.conformance.target import Target


@pytest.fixture(scope="module")
def server() -> Iterator[Target]:
    with launch(Start(settings=(("RUNTIME_WATCH_ROOT", "false"),))) as target:
        yield target


def _judge(server: Target, *more: str) -> int:
    assert server.folder is not None
    return main(["--target", server.client.address, "--config-dir", str(server.folder.path), *more])


def test_a_server_that_answers_as_expected_passes(server: Target, capsys: pytest.CaptureFixture[str]) -> None:
    status = _judge(server, "--suite", "core", "--only", "core-name")

    assert status == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["core", "1", "0", "0"]


def test_a_server_that_answers_otherwise_fails(server: Target, capsys: pytest.CaptureFixture[str]) -> None:
    status = _judge(server, "--suite", "headers", "--setting", "LIMIT_RESPONSE_HEADERS_ENABLED=true")

    assert status == 1
    assert "FAILED headers/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("suite", "reason"),
    [
        ("store-failure", "needs a server of its own"),
        ("shadow-global", "needs a server with {'SHADOW_MODE': 'true'}"),
        ("redis-keys", "needs --redis"),
        ("errors", "needs --http and --debug"),
        ("stats", "needs --statsd-port"),
    ],
)
def test_what_the_options_do_not_reach_is_not_run(
    server: Target, capsys: pytest.CaptureFixture[str], suite: str, reason: str
) -> None:
    _judge(server, "--suite", suite)

    assert reason in capsys.readouterr().out


def test_a_run_in_which_nothing_was_judged_is_no_success(server: Target) -> None:
    assert _judge(server, "--suite", "store-failure") == 1


@pytest.mark.parametrize(("is_compat", "problems"), [(False, ["no"]), (True, [])])
def test_the_answer_of_the_reference_passes_a_compatibility_run_only(
    server: Target,
    is_compat: bool,  # noqa: FBT001 - a table
    problems: list[str],
) -> None:
    scenario = Scenario("suite", (), "id", "title", {}, ())
    step = {"expect": "ours", "expect_reference": "theirs"}

    found = Run(server, scenario, is_compat).judge(
        step, "expect", lambda expected: [] if expected == "theirs" else ["no"]
    )
    assert found == problems
