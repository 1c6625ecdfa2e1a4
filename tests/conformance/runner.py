"""Run one vector on a target and say what was not as expected.

scenario:  clear its counters ─▶ wait for a good place in the windows ─▶ note statistics ─▶ steps, to the first problem
case:      base file in force ─▶ add its files and one extra ─▶ is the extra in force? what does the log say? ─▶ remove
"""

from __future__ import annotations

import re
import time

import redis

from tests.conformance.steps import KINDS, Problems, Run
from tests.conformance.suites import Case, Scenario, Step
from tests.conformance.target import Target
from tests.conformance.windows import wait_seconds

BASE_DOMAIN = "conformance-base"
RELOAD_BOUND_SECONDS = 30.0


def base_files(domain: str = BASE_DOMAIN) -> dict[str, str]:
    """Return a good file, as every shared server has one: its rules tell when a config is in force."""
    rules = f"domain: {domain}\ndescriptors:\n  - key: probe\n    rate_limit: {{unit: hour, requests_per_unit: 1000}}\n"
    return {f"{domain}.yaml": rules}


def is_limited(target: Target, domain: str) -> bool:
    """Say whether the rules of a base or an extra file are in force; spends nothing."""
    question = {"domain": domain, "descriptors": [{"entries": [["probe", "x"]], "hits_addend": 0}]}
    statuses = target.client.ask(question, timeout_seconds=1.0).get("statuses", [])
    return any("current_limit" in status for status in statuses)


def run_scenario(target: Target, scenario: Scenario, *, is_compat: bool = False) -> Problems:
    """Run all steps; return what was wrong with the first step that failed."""
    try:
        return _run(target, scenario, is_compat=is_compat)
    except (OSError, redis.RedisError) as error:
        return [f"{type(error).__name__}: {error}"]


def _run(target: Target, scenario: Scenario, *, is_compat: bool) -> Problems:
    _clear(target, scenario)
    time.sleep(wait_seconds(scenario, target.clock.wall()))
    run = Run(target, scenario, is_compat)
    run.start()
    for number, step in enumerate(scenario.steps, start=1):
        kind = _kind(step)
        if problems := KINDS[kind](run, step):
            return [f"step {number} ({kind}): {problem}" for problem in problems]
    return []


def run_case(target: Target, case: Case) -> Problems:
    """Add the files of a case to a running server, and take them away again."""
    assert target.folder is not None
    extra = f"{case.id}-extra"
    log_start = len(target.read_log()) if target.read_log is not None else 0
    target.folder.write(case.files)
    # Last, so that a server that loads it has met the files of the case.
    target.folder.write(base_files(extra))
    try:
        return _refused(target, case, extra, log_start) if case.error else _accepted(target, extra)
    finally:
        target.folder.remove([f"{extra}.yaml", *case.files])


def _accepted(target: Target, domain: str) -> Problems:
    is_loaded = target.wait_for(lambda: is_limited(target, domain), RELOAD_BOUND_SECONDS)
    return [] if is_loaded else ["the files were not accepted"]


def _refused(target: Target, case: Case, extra: str, log_start: int) -> Problems:
    assert target.read_log is not None
    assert case.error is not None
    read_log, error = target.read_log, case.error
    problems = []
    if not target.wait_for(lambda: is_reported(read_log()[log_start:], case), RELOAD_BOUND_SECONDS):
        problems.append(f"not reported: {error}; the log says: {read_log()[log_start:].strip() or 'nothing'}")
    if is_limited(target, extra):
        problems.append("the files were accepted")
    if not is_limited(target, BASE_DOMAIN):
        problems.append("the rules before are no longer in force")
    return problems


def is_reported(log: str, case: Case) -> bool:
    """Say whether one line of a log has the refusal, with one of the case's files before it."""
    error = case.error or ""
    stems = [re.escape(name.rsplit(".", 1)[0]) for name in case.files]
    pattern = re.compile(
        rf"Error loading new configuration.*(?<![\w-])({'|'.join(stems)})(?![\w-]).*{re.escape(error)}"
    )
    # A log in which messages stand between quotes puts backslashes before quotes.
    return any(pattern.search(re.sub(r"\\(?=['\"])", "", line)) for line in log.splitlines())


def _clear(target: Target, scenario: Scenario) -> None:
    for store in target.stores.values():
        for domain in scenario.domains:
            escaped = re.sub(r"([*?\[\]\\^-])", r"\\\1", domain)
            for key in list(store.scan_iter(match=f"*{escaped}_*", count=1000)):
                store.delete(key)


def _kind(step: Step) -> str:
    return next(kind for kind in KINDS if kind in step)
