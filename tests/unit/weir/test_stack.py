from __future__ import annotations

import socket
from pathlib import Path

import yaml

from ratelimit.settings import ConfigSettings
from semcache.config.files import load
from semcache.settings import NamespaceSettings
from tests.fakes.ports import free_port
from weir.demo.asking import NAMESPACE
from weir.demo.stack import (
    ENVOY_CONFIGURATION,
    NAMESPACES,
    RULES,
    Ports,
    cache_environment,
    environment,
    pick_port,
)


def test_a_port_that_is_free_is_taken() -> None:
    port = free_port()

    assert pick_port(port) == port


def test_a_port_that_is_taken_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert pick_port(port) not in (port, 0)


def test_rules_are_found_where_the_service_is_told_to_look() -> None:
    ports = Ports(1, 2, 3, 4, 5, 6)

    names = environment(ports, Path("/somewhere/rules"))

    settings = ConfigSettings(**{key.lower(): value for key, value in names.items()})
    folder = Path(settings.runtime_root, settings.runtime_subdirectory, settings.runtime_appdirectory)
    assert folder == Path("/somewhere/rules")


def test_what_is_started_is_what_the_repository_shows() -> None:
    root = Path(__file__).parents[3]

    assert root / "deploy" / "envoy" / "token-budgets.yaml" == ENVOY_CONFIGURATION
    assert root / "examples" / "rules" == RULES
    assert root / "examples" / "namespaces" / "demo.yaml" == NAMESPACES
    assert yaml.safe_load((RULES / "token-budgets.yaml").read_text())["domain"] == "llm"


def test_the_demo_cache_is_set_up_by_what_is_shown(tmp_path: Path) -> None:
    namespaces = load(NAMESPACES, NamespaceSettings())

    demo = namespaces.find(NAMESPACE)
    assert demo is not None
    assert (demo.required, demo.explore) == ({"tenant"}, 0)
    names = cache_environment(Ports(1, 2, 3, 4, 5, 6, 7, 8), tmp_path)
    assert names["SEMCACHE_NAMESPACES_PATH"] == str(NAMESPACES)
    assert (names["SEMCACHE_GRPC_PORT"], names["SEMCACHE_PORT"]) == ("7", "8")
