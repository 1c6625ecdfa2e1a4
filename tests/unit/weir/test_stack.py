from __future__ import annotations

import socket
from pathlib import Path

import yaml

from ratelimit.settings import ConfigSettings
from weir.demo.stack import ENVOY_CONFIGURATION, RULES, Ports, environment, pick_port


def test_a_port_that_is_free_is_taken() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

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
    assert yaml.safe_load((RULES / "token-budgets.yaml").read_text())["domain"] == "llm"
