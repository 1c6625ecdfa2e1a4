"""Collects every vector as a test, for each store, and a sample through TLS; those of one server run one after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conformance.groups import Group, groups, sample, without_store_steps
from tests.conformance.launch import Start, Stores, launch, running_stores
from tests.conformance.suites import load
from tests.conformance.target import Target

STORES = ("redis", "memory")


@dataclass(frozen=True, eq=False)
class Place:
    """A group of vectors on one kind of store, which share a server."""

    group: Group
    store: str
    transport: str
    is_tls: bool = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", choices=STORES, default=None, help="conformance: only this store")
    parser.addoption("--transport", default="front", help="conformance: TRANSPORT of the server")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vector" not in metafunc.fixturenames:
        return
    rows = [(place, vector) for place in _places(metafunc.config) for vector in place.group.vectors]
    ids = [f"{'tls-' * place.is_tls}{place.store}-{vector.suite}-{vector.id}" for place, vector in rows]
    metafunc.parametrize(("target", "vector"), rows, indirect=["target"], ids=ids, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the vectors of a server together again, whatever has shuffled them; nothing else is moved."""
    positions = [position for position, item in enumerate(items) if _place_of(item) is not None]
    order: dict[Place | None, int] = {}
    for position in positions:
        order.setdefault(_place_of(items[position]), len(order))
    vectors = sorted((items[position] for position in positions), key=lambda item: order[_place_of(item)])
    for position, item in zip(positions, vectors, strict=True):
        items[position] = item


@pytest.fixture(scope="session")
def redis_ports() -> Iterator[Stores]:
    with running_stores() as stores:
        yield stores


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server for the group of the vector; pytest ends it when the next group begins."""
    place: Place = request.param
    stores = request.getfixturevalue("redis_ports") if place.store == "redis" else None
    start = Start(
        settings=place.group.settings,
        files=place.group.files,
        has_usable_config=place.group.has_usable_config,
        stores=stores,
        transport=place.transport,
        is_tls=place.is_tls,
    )
    with launch(start) as server:
        yield server


def _places(config: pytest.Config) -> list[Place]:
    store = config.getoption("store", default=None)
    transport = config.getoption("transport", default="front")
    every = load()
    places = [
        Place(group, name, transport)
        for name in (STORES if store is None else (store,))
        for group in groups(every if name == "redis" else without_store_steps(every))
    ]
    if store in (None, "redis"):
        places += [Place(group, "redis", transport, is_tls=True) for group in groups(sample(every))]
    return places


def _place_of(item: pytest.Item) -> Place | None:
    spec = getattr(item, "callspec", None)
    place = spec.params.get("target") if spec is not None else None
    return place if isinstance(place, Place) else None
