"""A cache over fakes that contracts hold, with the real verifier and gates of a calibration that is easy to foretell."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from semcache.answers import Answer, Ask, Kept, Offer, Turn
from semcache.backends import Backend, Phase, Progress
from semcache.cache import Cache
from semcache.calibration import Gate, GateSettings
from semcache.entry import Completion, Usage
from semcache.errors import StoreRefused
from semcache.judging import Judges
from semcache.leases.memory import MemoryLeases
from semcache.logistic import Curve
from semcache.namespaces import CallerRule, Namespace, Role
from semcache.prompt import normalise
from semcache.scope import Scope
from semcache.settings import CacheSettings, LeaseSettings, SweeperSettings
from semcache.sweeper import Sweeper
from semcache.verifier.features import FEATURES, Weights
from semcache.verifier.trees import Forest, Split
from semcache.verifier.verdict import Verifier
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.store import FakeStore, FakeStores

# Of a lookup that nothing holds up: the event loop has real time, and a machine under load is slow.
PATIENCE_SECONDS = 30.0
EVERYONE = CallerRule(anyone=True, roles=frozenset(Role))
# One tree: a similarity above 0.8 scores 4, below -4.
SURE_ABOVE = 0.8
FOREST = Forest([Split(0, 0, SURE_ABOVE, 0b01)], [[-4.0, 4.0]], len(FEATURES))
PRIOR = Curve(pivot=0.0, intercept=0.0, slope=2.0, variance_intercept=0.01, variance_slope=0.01)


def make_gate(settings: GateSettings, model: str) -> Gate:
    return Gate(settings, PRIOR, model)


def make_judges() -> Judges:
    return Judges(Verifier(FOREST, Weights({}, 1.0), 0.0), make_gate, draw=random.Random(7))


def namespace(**fields: Any) -> Namespace:
    return Namespace(**{"name": "support", "explore": 0.0, "target_error": 0.05, "callers": (EVERYONE,), **fields})


def completion(text: str = "By mail.", **fields: Any) -> Completion:
    return Completion(text, usage=Usage(100, 20), **fields)


@dataclass
class OneBackend:
    """Every namespace has the same model."""

    backend: Backend | None
    change: Progress = field(default_factory=lambda: Progress(Phase.SETTLED))

    def of(self, namespace: Namespace) -> Backend | None:
        del namespace
        return self.backend

    def progress(self, namespace: Namespace) -> Progress:
        del namespace
        return self.change

    async def roll_back(self, namespace: Namespace) -> None:
        if self.change.phase is not Phase.MOVED:
            raise StoreRefused(f"{namespace.name} has no other model to go back to")
        self.change = replace(self.change, phase=Phase.ROLLED_BACK)


@dataclass
class World:
    """A cache and what stands behind it."""

    cache: Cache
    store: FakeStore
    stores: FakeStores
    embedder: FakeEmbedder
    backends: OneBackend
    judges: Judges
    clock: FakeClock
    registry: Registry
    namespace: Namespace = field(default_factory=namespace)

    def ask(self, prompt: str, scope: Scope | None = None, **fields: Any) -> Ask:
        scope = scope or Scope(self.namespace.name, tenant="acme")
        turn = fields.pop("turn", Turn(normalise(prompt)))
        return Ask(**{
            "namespace": self.namespace, "scope": scope, "turn": turn, "deadline": self.clock.steady() + PATIENCE_SECONDS, **fields
        })  # fmt: skip

    def offer(self, prompt: str, scope: Scope | None = None, **fields: Any) -> Offer:
        scope = scope or Scope(self.namespace.name, tenant="acme")
        return Offer(**{
            "namespace": self.namespace, "scope": scope, "turn": Turn(normalise(prompt)), "completion": completion(),
            "deadline": self.clock.steady() + PATIENCE_SECONDS, **fields,
        })  # fmt: skip

    async def lookup(self, prompt: str, scope: Scope | None = None, **fields: Any) -> Answer:
        (answer,) = await self.cache.lookup([self.ask(prompt, scope, **fields)])
        return answer if isinstance(answer, Answer) else await answer

    async def store_one(self, prompt: str, scope: Scope | None = None, **fields: Any) -> Kept:
        (kept,) = await self.cache.store([self.offer(prompt, scope, **fields)])
        return kept

    def value(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.registry.samples()
            if sample.name == f"weir.semcache.{name}" and labels.items() <= sample.labels.items()
        )


async def make_world(stores: FakeStores | None = None, **settings: Any) -> World:
    """Make a cache; over the `stores` of another one it is a replica of that."""
    clock, registry, stores, embedder = FakeClock(), Registry(), stores or FakeStores(), FakeEmbedder()
    await embedder.start()
    store = await stores.open(embedder.identity)
    backends = OneBackend(Backend(embedder, store))
    judges = make_judges()
    leases = MemoryLeases(LeaseSettings(), clock)
    sweeper = Sweeper(stores, dict, SweeperSettings(pause=0.0), clock, registry)
    cache = Cache(stores, backends, leases, judges, sweeper.purge, CacheSettings(**settings), clock, registry)
    return World(cache, store, stores, embedder, backends, judges, clock, registry)
