from __future__ import annotations

import pytest

import semcache.settings
from docs.settings_tables import groups
from semcache.settings import GROUPS, environment_remarks
from serving.settings import HttpClientSettings, LifecycleSettings, LogSettings, StatsSettings


def test_no_group_is_left_out() -> None:
    assert set(GROUPS) == {
        *groups(semcache.settings),
        HttpClientSettings,
        LifecycleSettings,
        LogSettings,
        StatsSettings,
    }


def test_a_slip_in_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCACHE_NAMESPACE_PATH", "namespaces.yaml")
    monkeypatch.setenv("SEMCACHE_NONSENSE", "secret")

    assert environment_remarks() == [
        "SEMCACHE_NAMESPACE_PATH is no setting; is SEMCACHE_NAMESPACES_PATH meant?",
        "SEMCACHE_NONSENSE is no setting",
    ]


def test_what_the_other_service_and_qdrant_read_is_no_slip(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "GRPC_PORT", "RUNTIME_ROOT", "QDRANT__SERVICE__API_KEY", "SEMCACHE_PORT_8082_TCP"):
        monkeypatch.setenv(name, "1")

    assert environment_remarks() == []
