from __future__ import annotations

import pytest

from semcache.backends import Backend
from semcache.evidence import Label
from semcache.gauges import show_gates
from semcache.namespaces import Namespace
from serving.metrics import Registry
from tests.fakes.caches import World, make_world, namespace
from tests.fakes.entries import NOW

NAME = "weir.semcache.gate."


def readings(world: World, *members: Namespace) -> dict[tuple[str, ...], float]:
    registry = Registry()
    show_gates(registry, lambda: members, world.backends, world.judges)
    return {
        (sample.name.removeprefix(NAME), *(value for _, value in sorted(sample.labels.items()))): sample.value
        for sample in registry.samples()
    }


async def test_an_open_gate_says_from_where_it_serves_and_with_which_error() -> None:
    world = await make_world()

    told = readings(world, namespace(target_error=0.05))

    assert told.pop(("serves_from", "confidence", "support")) == pytest.approx(0.95, abs=0.02)
    assert told == {
        ("open", "support"): 1,
        ("labels", "support"): 0,
        ("target_error", "support"): 0.05,
        ("error_upper", "support"): 0.05,
    }


async def test_a_gate_that_labels_contradict_is_closed() -> None:
    world, mine = await make_world(), namespace(target_error=0.05)
    assert isinstance(world.backends.backend, Backend)
    gate = world.judges.gate(mine, world.backends.backend.model)
    for number in range(100):
        gate.learn(f"l{number}", Label(NOW, 4.0, is_right=False, similarity=0.9))

    told = readings(world, mine)

    assert (told["open", "support"], told["serves_from", "confidence", "support"]) == (0, 1)
    assert (told["labels", "support"], told["error_upper", "support"]) == (100, 1)


async def test_a_fixed_threshold_is_told_as_a_similarity() -> None:
    told = readings(await make_world(), namespace(threshold=0.97, target_error=None))

    assert told == {("open", "support"): 1, ("serves_from", "similarity", "support"): 0.97, ("labels", "support"): 0}


async def test_where_nothing_is_compared_by_meaning_there_is_no_gate() -> None:
    world = await make_world()
    members = [namespace(semantic=False), namespace(name="off", enabled=False)]

    assert readings(world, *members) == {}
    world.backends.backend = None
    assert readings(world, namespace()) == {}
