from __future__ import annotations

import pytest

from serving.settings import (
    Group,
    GrpcSettings,
    HttpSettings,
    LogSettings,
    RedisSettings,
    SettingsError,
    StatsSettings,
    check,
    pairs,
    read,
    seconds,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h30m", 5400),
        ("200ms", 0.2),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("3ns", 3e-9),
        ("0", 0),
        (" 7 ", 7),
    ],
)
def test_a_duration_is_read_as_go_writes_it(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "soon", "10 parsecs", "1h30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration such as 200ms, 10s or 1h30m"):
        seconds(text)


def test_pairs_are_divided_by_their_first_colon() -> None:
    assert pairs("a:b:c, d:e,nonsense") == {"a": "b:c", "d": "e"}


def test_every_variable_that_cannot_be_used_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATSD_PORT", "none")
    monkeypatch.setenv("STATS_FLUSH_INTERVAL", "soon")

    with pytest.raises(SettingsError) as raised:
        read(StatsSettings)

    problems = str(raised.value).split("; ")
    assert [problem.partition(":")[0] for problem in problems] == ["STATSD_PORT", "STATS_FLUSH_INTERVAL"]
    assert problems[0].endswith("(is 'none')")


def test_a_variable_with_a_prefix_is_named_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_TIMEOUT", "soon")

    with pytest.raises(SettingsError, match=r"^REDIS_TIMEOUT: .*\(is 'soon'\)$"):
        read(RedisSettings)


def test_a_secret_shows_in_no_form() -> None:
    settings = RedisSettings(auth="hunter2", url="redis://:hunter2@host")  # type: ignore[arg-type]

    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_a_word_of_a_few_may_be_written_as_one_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "info")

    assert read(LogSettings).log_level == "INFO"


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        (GrpcSettings, "GRPC_PORT", "65536"),
        (HttpSettings, "DEBUG_PORT", "-1"),
        (GrpcSettings, "QUEUE_CALLS_MAX", "0"),
        (GrpcSettings, "BATCHES_IN_FLIGHT_MAX", "0"),
        (StatsSettings, "STATS_FLUSH_INTERVAL", "0s"),
        (StatsSettings, "PROMETHEUS_ADDR", "9090"),
        (StatsSettings, "PROMETHEUS_ADDR", ":99999"),
        (RedisSettings, "REDIS_TIMEOUT", "0"),
    ],
)
def test_what_would_serve_nobody_is_refused(
    group: type[Group], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=rf"^{name}: .*\(is '{value}'\)$"):
        read(group)


def test_what_cannot_be_used_is_named_for_all_groups_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("REDIS_TIMEOUT", "soon")

    with pytest.raises(SettingsError, match=r"^LOG_LEVEL: .*; REDIS_TIMEOUT: not a duration"):
        check([LogSettings, GrpcSettings, RedisSettings])
