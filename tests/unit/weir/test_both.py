from __future__ import annotations

import pytest

from weir.both import environment_remarks


def test_what_either_service_knows_is_no_slip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCACHE_REDIS_HEALTH_CHECK_ACTIVE_CONNECTION", "true")
    monkeypatch.setenv("REDIS_HEALTH_CHECK_ACTIVE_CONNECTION", "true")

    assert environment_remarks() == []


def test_a_slip_is_told_for_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCACHE_GRPC_PROT", "1")
    monkeypatch.setenv("RUNTIME_APPDIRECTRY", "rules")

    assert environment_remarks() == [
        "RUNTIME_APPDIRECTRY is no setting; is RUNTIME_APPDIRECTORY meant?",
        "SEMCACHE_GRPC_PROT is no setting; is SEMCACHE_GRPC_PORT meant?",
    ]
