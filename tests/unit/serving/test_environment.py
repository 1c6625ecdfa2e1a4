from __future__ import annotations

import pytest

from serving.environment import names_of, remarks
from serving.settings import GrpcSettings, RedisSettings

KNOWN = names_of([GrpcSettings, RedisSettings])


def said(*names: str) -> list[str]:
    return remarks(names, KNOWN, prefixes=["REDIS_"], absent={"MEMCACHE_": "there is no memcache"})


def test_a_variable_is_known_by_its_group_and_name() -> None:
    assert {"GRPC_PORT", "REDIS_URL"} <= KNOWN.keys()


def test_of_what_is_read_nothing_is_said() -> None:
    assert said("REDIS_URL", "grpc_port", "PATH", "HOSTNAME") == []


def test_what_does_nothing_here_is_said_once_for_all() -> None:
    idle = "REDIS_POOL_SIZE (one connection carries every batch); MEMCACHE_HOST_PORT (there is no memcache)"

    assert said("REDIS_POOL_SIZE", "MEMCACHE_HOST_PORT") == [f"settings that do nothing here: {idle}"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("REDIS_TIMOUT", "REDIS_TIMEOUT"), ("GRPC_MAX_CONECTION_AGE", "GRPC_MAX_CONNECTION_AGE")],
)
def test_a_name_that_nearly_is_a_setting_is_a_slip(name: str, meant: str) -> None:
    assert said(name) == [f"{name} is no setting; is {meant} meant?"]


def test_an_unknown_name_under_our_prefix_is_told() -> None:
    assert said("REDIS_NONSENSE", "GRPC_VERBOSITY") == ["REDIS_NONSENSE is no setting"]


@pytest.mark.parametrize(
    "name", ["REDIS_SERVICE_HOST", "REDIS_SERVICE_PORT_TCP_REDIS", "REDIS_PORT", "REDIS_PORT_6379_TCP_ADDR"]
)
def test_what_kubernetes_sets_for_a_service_is_no_slip(name: str) -> None:
    assert said(name) == []
