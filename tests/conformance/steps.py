"""Each kind of step: do it, or look, and say what was not as expected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.conformance import series
from tests.conformance.client import TIMEOUT_SECONDS, fetch
from tests.conformance.comparison import answer_differences, differences, is_equal, listed_differences, overall_codes
from tests.conformance.suites import Scenario, Step, file_name, named
from tests.conformance.target import POLL_SECONDS, SETTLE_SECONDS, Store, Target
from tests.conformance.tree import Tree
from tests.conformance.windows import expand, sleep_until_next

STATISTICS_BOUND_SECONDS = 20.0
SEEDED_TTL_SECONDS = 7200

Problems: TypeAlias = list[str]
Compare: TypeAlias = Callable[[Any], Problems]


@dataclass
class Run:
    """One scenario on its way through its steps."""

    target: Target
    scenario: Scenario
    is_compat: bool = False
    """Whether the answers of the reference are accepted too."""
    counters: Mapping[str, float] = field(default_factory=dict)
    page: Mapping[str, float] = field(default_factory=dict)
    last_call: float = 0.0

    def start(self) -> None:
        """Note the statistics: steps compare differences."""
        self.last_call = self.target.clock.steady()
        if self.scenario.has_step("server_stats") or self.scenario.has_step("prometheus"):
            self.settle()
        if self.target.statsd is not None:
            self.counters = self.target.statsd.counters.copy()
        if self.scenario.has_step("prometheus"):
            self.page = self.read_page()

    def settle(self) -> None:
        """Let the server send what it counted up to the last call."""
        time.sleep(max(0.0, self.last_call + SETTLE_SECONDS - self.target.clock.steady()))

    def changed_counters(self) -> dict[str, float]:
        assert self.target.statsd is not None
        return series.changes(self.counters, self.target.statsd.counters.copy())

    def read_page(self) -> dict[str, float]:
        assert self.target.metrics is not None
        return series.parse_page(fetch(self.target.metrics, "/metrics")["text"])

    def judge(self, step: Step, key: str, compare: Compare) -> Problems:
        """Compare with what is expected, or with what the reference answers where that is accepted."""
        problems = compare(step[key])
        reference = f"{key}_reference"
        return [] if problems and self.is_compat and reference in step and not compare(step[reference]) else problems

    def poll_statistics(self, look: Callable[[], Problems]) -> Problems:
        """Look until nothing is amiss; counters may arrive late."""
        self.settle()
        return self.poll(look, STATISTICS_BOUND_SECONDS)

    def poll(self, look: Callable[[], Problems], bound_seconds: float) -> Problems:
        end = self.target.clock.steady() + bound_seconds
        while (problems := look()) and self.target.clock.steady() < end:
            time.sleep(POLL_SECONDS)
        return problems


def request(run: Run, step: Step) -> Problems:
    return run.poll(lambda: _ask(run, step), step.get("within", 0))


def http(run: Run, step: Step) -> Problems:
    call = step["http"]
    address = run.target.debug if call.get("port") == "debug" else run.target.main
    assert address is not None
    answer = fetch(address, call.get("path", "/"), method=call.get("method", "GET"), body=call.get("body"))
    run.last_call = run.target.clock.steady()
    now = run.target.clock.wall()
    return run.judge(step, "expect", lambda expected: listed_differences(expected, answer, now))


def health(run: Run, step: Step) -> Problems:
    answer = run.target.client.health(step["health"]["service"])
    return run.judge(step, "expect", lambda expected: answer_differences(expected, answer, 0))


def redis_keys(run: Run, step: Step) -> Problems:
    def compare(expected: Mapping[str, Any]) -> Problems:
        found = {key: _store(run, step).get(_expand(run, key)) for key in expected}
        # A value is compared as text, and an absent key is not an empty one.
        return [
            f"key {key}: expected {value!r}, found {found[key]!r}"
            for key, value in expected.items()
            if found[key] != (None if value is None else str(value))
        ]

    return run.judge(step, "redis_keys", compare)


def redis_ttl(run: Run, step: Step) -> Problems:
    found = {key: _store(run, step).ttl(_expand(run, key)) for key in step["redis_ttl"]}
    return run.judge(step, "redis_ttl", lambda expected: differences(expected, found, 0))


def redis_set(run: Run, step: Step) -> Problems:
    for key, text in step["redis_set"].items():
        _store(run, step).set(_expand(run, key), text, ex=SEEDED_TTL_SECONDS)
    return []


def redis_call(run: Run, step: Step) -> Problems:
    for command in step["redis_call"]:
        _store(run, step).execute_command(*(_expand(run, str(word)) for word in command))  # type: ignore[no-untyped-call]
    return []


def stats(run: Run, step: Step) -> Problems:
    domain = step.get("domain", run.scenario.domain)

    def look() -> Problems:
        found = series.of_domain(run.changed_counters(), domain)
        return run.judge(step, "stats", lambda expected: differences(expected, found, 0))

    return run.poll_statistics(look)


def server_stats(run: Run, step: Step) -> Problems:
    def compare(expected: Mapping[str, Any]) -> Problems:
        found = run.changed_counters()
        return _unequal(expected, {name: found.get(name, 0) for name in expected})

    return run.poll_statistics(lambda: run.judge(step, "server_stats", compare))


def prometheus(run: Run, step: Step) -> Problems:
    texts = step.get("select", [f'domain="{run.scenario.domain}"'])

    def look() -> Problems:
        found = series.select(series.changes(run.page, run.read_page()), texts)
        return run.judge(step, "prometheus", lambda expected: differences(expected, found, 0))

    return run.poll_statistics(look)


def files(run: Run, step: Step) -> Problems:
    assert run.target.folder is not None
    change = step["files"]
    written, removed = named(change.get("write", {})), [file_name(name) for name in change.get("remove", ())]
    if change.get("swap"):
        assert isinstance(run.target.folder, Tree), "only a tree can be swapped"
        run.target.folder.swap(written, removed)
    else:
        run.target.folder.write(written)
        run.target.folder.remove(removed)
    return []


def store_link(run: Run, step: Step) -> Problems:
    assert run.target.link is not None
    assert run.target.background is not None
    run.target.background.call(run.target.link.turn(step["store_link"]))
    return []


def wait(_: Run, step: Step) -> Problems:
    time.sleep(step["wait"])
    return []


def wait_window(run: Run, step: Step) -> Problems:
    sleep_until_next(step["wait_window"].upper(), run.target.clock)
    return []


KINDS: Mapping[str, Callable[[Run, Step], Problems]] = {
    kind.__name__: kind
    for kind in (
        request,
        http,
        health,
        redis_keys,
        redis_ttl,
        redis_set,
        redis_call,
        stats,
        server_stats,
        prometheus,
        files,
        store_link,
        wait,
        wait_window,
    )
}


def _ask(run: Run, step: Step) -> Problems:
    timeout = step.get("timeout", TIMEOUT_SECONDS)
    answers = [run.target.client.ask(step["request"], timeout) for _ in range(step.get("repeat", 1))]
    run.last_call = run.target.clock.steady()
    now = run.target.clock.wall()
    problems = run.judge(step, "expect", lambda expected: _compare_answer(run, expected, answers[-1], now))
    if "overall_codes" in step:
        codes = overall_codes([answer.get("overall_code") or "ERROR" for answer in answers])
        problems += run.judge(step, "overall_codes", lambda expected: _unequal({"codes": expected}, {"codes": codes}))
    return problems


def _compare_answer(run: Run, expected: Mapping[str, Any], answer: Mapping[str, Any], now: float) -> Problems:
    if "crash" not in expected:
        return answer_differences(expected, answer, now)
    has_ended = run.target.has_ended() or answer.get("error", {}).get("code") == "UNAVAILABLE"
    return [] if has_ended else ["the server did not end"]


def _unequal(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Problems:
    unequal: Iterable[str] = (name for name in expected if not is_equal(expected[name], found[name], 0))
    return [f"{name}: expected {expected[name]!r}, got {found[name]!r}" for name in unequal]


def _store(run: Run, step: Step) -> Store:
    return run.target.stores[step.get("store", "main")]


def _expand(run: Run, text: str) -> str:
    return expand(text, run.target.clock.wall())
