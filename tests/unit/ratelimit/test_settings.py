from __future__ import annotations

import pytest

import ratelimit.settings
import serving.settings
from docs.settings_tables import groups
from ratelimit.settings import GROUPS, environment_remarks, load
from serving.settings import SettingsError


def test_no_group_is_left_out() -> None:
    written = {*groups(serving.settings), *groups(ratelimit.settings)}

    # Its names are made up by the operator.
    assert set(GROUPS) == written - {serving.settings.MogrifierSettings}


def test_a_slip_in_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_APPDIRECTRY", "rules")

    assert "RUNTIME_APPDIRECTRY is no setting; is RUNTIME_APPDIRECTORY meant?" in environment_remarks()


def test_memcache_is_told_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCACHE_HOST_PORT", "secret-host:1")

    remarks = environment_remarks()

    assert any("MEMCACHE_HOST_PORT" in remark for remark in remarks)
    assert not any("secret-host" in remark for remark in remarks)


def test_all_that_cannot_be_used_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRPC_PORT", "SHADOW_MODE", "REDIS_PERSECOND", "DESCRIPTORS_MAX"):
        monkeypatch.setenv(name, "wrong")

    with pytest.raises(SettingsError) as raised:
        load()

    assert [problem.partition(":")[0] for problem in str(raised.value).split("; ")] == [
        "GRPC_PORT", "REDIS_PERSECOND", "DESCRIPTORS_MAX", "SHADOW_MODE",
    ]  # fmt: skip


def test_a_second_redis_that_is_off_may_be_set_up_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PERSECOND_TIMEOUT", "soon")

    assert load().redis_per_second is None


def test_one_that_is_on_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PERSECOND", "true")
    monkeypatch.setenv("REDIS_PERSECOND_TIMEOUT", "soon")

    with pytest.raises(SettingsError, match="REDIS_PERSECOND_TIMEOUT"):
        load()


@pytest.mark.parametrize(
    ("environment", "clash"),
    [
        ({"PORT": "8081"}, "PORT and GRPC_PORT: both are 8081"),
        ({"USE_PROMETHEUS": "true", "PROMETHEUS_ADDR": ":6070"}, "DEBUG_PORT and PROMETHEUS_ADDR: both are 6070"),
        ({"HOST": "127.0.0.1", "DEBUG_HOST": "127.0.0.1", "DEBUG_PORT": "8080"}, "PORT and DEBUG_PORT: both are 8080"),
    ],
)
def test_two_listeners_on_one_place_are_refused(
    environment: dict[str, str], clash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=f"^{clash}$"):
        load()


@pytest.mark.parametrize(
    "environment",
    [
        {"PORT": "0", "GRPC_PORT": "0", "DEBUG_PORT": "0"},
        {"PORT": "8081", "GRPC_UDS": "/run/ratelimit.sock"},
        {"PROMETHEUS_ADDR": ":8080"},
        {"HOST": "127.0.0.1", "DEBUG_HOST": "127.0.0.2", "DEBUG_PORT": "8080"},
    ],
    ids=["any", "a socket", "no page", "two addresses"],
)
def test_listeners_that_cannot_meet_are_taken(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    load()
