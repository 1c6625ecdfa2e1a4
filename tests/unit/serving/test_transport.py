from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from serving.calls import Method
from serving.clock import SystemClock
from serving.front import FrontServer
from serving.grpc_server import GrpcServer
from serving.metrics import Registry
from serving.settings import GrpcSettings, SettingsError
from serving.transport import Transport, make_transport
from tests.wire.gate import Gate


def _make(**options: Any) -> Transport:
    return make_transport(GrpcSettings(**options), [Method("/a/B", Gate())], SystemClock(), Registry())


@pytest.fixture
def without_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "serving.front")
    monkeypatch.setitem(sys.modules, "pygrpc_native", None)


@pytest.mark.parametrize("transport", ["auto", "front"])
def test_the_front_is_used_where_it_is_installed(transport: str) -> None:
    assert isinstance(_make(transport=transport), FrontServer)


def test_the_grpcio_server_can_be_asked_for() -> None:
    assert isinstance(_make(transport="grpcio"), GrpcServer)


@pytest.mark.usefixtures("without_front")
def test_where_the_front_is_missing_grpcio_serves_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    transport = _make()

    assert isinstance(transport, GrpcServer)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.usefixtures("without_front")
def test_a_front_that_was_asked_for_and_is_missing_is_an_error() -> None:
    with pytest.raises(SettingsError, match="TRANSPORT"):
        _make(transport="front")


@pytest.mark.parametrize("broken", ["pygrpc_native", "serving.relay"])
def test_a_front_that_is_there_but_cannot_be_loaded_is_an_error_with_its_text(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.delitem(sys.modules, "serving.front")
    monkeypatch.setitem(sys.modules, broken, ModuleType(broken))

    with pytest.raises(SettingsError, match=f"TRANSPORT.*cannot import name .*{broken}"):
        _make(transport="auto")


def test_another_package_that_the_front_misses_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "serving.front")
    monkeypatch.setitem(sys.modules, "serving.relay", None)

    with pytest.raises(SettingsError, match=r"TRANSPORT.*serving\.relay"):
        _make(transport="auto")


def test_streams_alone_need_no_front() -> None:
    assert isinstance(make_transport(GrpcSettings(), [], SystemClock(), Registry()), GrpcServer)
