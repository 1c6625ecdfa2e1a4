"""Every vector, on a server of ours."""

from __future__ import annotations

from tests.conformance.runner import run_case, run_scenario
from tests.conformance.suites import Case, Scenario
from tests.conformance.target import Target


def test_vector(target: Target, vector: Scenario | Case) -> None:
    problems = run_case(target, vector) if isinstance(vector, Case) else run_scenario(target, vector)

    assert not problems, "\n".join([vector.title, *problems, *_last_words(target)])


def _last_words(target: Target) -> list[str]:
    log = target.read_log() if target.read_log is not None else ""
    return ["the server's log ends:", *log.splitlines()[-15:]]
