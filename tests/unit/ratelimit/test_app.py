from __future__ import annotations

from pathlib import Path

import pytest

from ratelimit import settings as service_settings
from ratelimit.app import make_source, make_store, sees_names
from ratelimit.config.xds import XdsSource
from ratelimit.settings import ConfigSettings
from ratelimit.source import Rules
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.settings import SettingsError


@pytest.fixture
def callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of callers, for a service that has their certificates proved."""
    path = tmp_path / "callers.yaml"
    monkeypatch.setenv("API_CALLERS_PATH", str(path))
    monkeypatch.setenv("GRPC_SERVER_USE_TLS", "true")
    monkeypatch.setenv("GRPC_CLIENT_TLS_CACERT", "ca.pem")
    return path


def test_memcache_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKEND_TYPE", "memcache")

    with pytest.raises(SettingsError, match=r"BACKEND_TYPE: memcache is not supported"):
        make_store(service_settings.load(), Registry(), SystemClock())


def test_rules_may_come_from_a_management_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_TYPE", "GRPC_XDS_SOTW")

    assert isinstance(make_source(service_settings.load(), Rules(ConfigSettings(), Registry())), XdsSource)


@pytest.mark.parametrize(("who", "sees"), [("san: spiffe://a/b", True), ("anyone: true", False)])
def test_names_in_certificates_are_looked_at_where_a_rule_asks_for_one(callers: Path, who: str, *, sees: bool) -> None:
    callers.write_text(f"callers: [{{{who}, roles: [ask]}}]")

    assert sees_names(service_settings.load()) is sees


def test_a_file_of_callers_that_cannot_be_read_asks_for_no_names_yet(callers: Path) -> None:
    callers.write_text("callers: [")

    assert not sees_names(service_settings.load())


def test_a_front_that_was_asked_for_cannot_give_names(callers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callers.write_text("callers: [{san: spiffe://a/b, roles: [ask]}]")
    monkeypatch.setenv("TRANSPORT", "front")

    with pytest.raises(SettingsError, match="TRANSPORT: the front does not know names"):
        sees_names(service_settings.load())
