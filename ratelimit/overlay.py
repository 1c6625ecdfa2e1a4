"""Keys of ours laid over rules of any source: how rules that come from a management server get them.

    overlay (file) ──┐
                     ├──▶ specs with our keys ──▶ tree
    rules (any) ─────┘         nearest wins: the rule's own key, then the last matching layer with a path, then the domain's

1. A layer without a path gives defaults to every limit of the domains it matches; with a path, to limits there.
2. Patterns have stars, each for any run of characters: names that gateways generate are long.
3. A layer that brings a window, a calendar or a list of limits replaces the rule's unit; one that brings an amount, its
   number. A layer that fits no rule is worth a warning: it may be a slip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ratelimit.rules import Node, pattern
from ratelimit.specs import DescriptorSpec, DomainSpec, LimitSpec, Own, Where

_WINDOWS = {"window", "calendar", "limits"}
_AMOUNTS = {"amount", "limits"}


@dataclass(frozen=True, slots=True)
class Layer:
    """Keys for the limits that match."""

    where: Where
    domain: str
    """Pattern."""
    own: Mapping[str, Own]
    path: tuple[tuple[str, str], ...] = ()
    """Patterns of key and value, one pair for each descriptor from the top; empty: every limit of the domain."""
    hash_tag: tuple[str, ...] = ()

    def fits(self, domain: str, path: Sequence[DescriptorSpec]) -> bool:
        """Return whether a limit at this place is meant."""
        if not fits(self.domain, domain) or (self.path and len(self.path) != len(path)):
            return False
        return all(
            fits(key, spec.key) and fits(value, spec.value)
            for (key, value), spec in zip(self.path, path if self.path else (), strict=True)
        )


class Overlay:
    """All layers, in the order of the file."""

    def __init__(self, layers: Sequence[Layer] = ()) -> None:
        self._layers = sorted(layers, key=lambda layer: bool(layer.path))

    def lay(self, specs: Sequence[DomainSpec]) -> list[DomainSpec]:
        """Return the specs with what the layers bring."""
        return [self._domain(spec) for spec in specs] if self._layers else list(specs)

    def unused(self, specs: Sequence[DomainSpec]) -> Iterator[Layer]:
        """Return the layers that fit no limit of these rules."""
        places = [(spec.domain, path) for spec in specs for path in _limits(spec.descriptors, ())]
        for layer in self._layers:
            if not any(layer.fits(domain, path) for domain, path in places):
                yield layer

    def _domain(self, spec: DomainSpec) -> DomainSpec:
        tags = [layer.hash_tag for layer in self._layers if layer.hash_tag and fits(layer.domain, spec.domain)]
        descriptors = tuple(self._descriptor(spec.domain, each, ()) for each in spec.descriptors)
        return replace(spec, descriptors=descriptors, hash_tag=spec.hash_tag or (tags[-1] if tags else ()))

    def _descriptor(self, domain: str, spec: DescriptorSpec, above: tuple[DescriptorSpec, ...]) -> DescriptorSpec:
        path = (*above, spec)
        limit = spec.rate_limit
        if limit is not None and not limit.unlimited:
            limit = self._limit(domain, path, limit)
        below = tuple(self._descriptor(domain, each, path) for each in spec.descriptors)
        return replace(spec, rate_limit=limit, descriptors=below)

    def _limit(self, domain: str, path: Sequence[DescriptorSpec], limit: LimitSpec) -> LimitSpec:
        own: dict[str, Own] = {}
        for layer in self._layers:
            if layer.fits(domain, path):
                own |= layer.own
        if not own:
            return limit
        brought = own.keys() - limit.own.keys()
        return replace(
            limit,
            unit="" if brought & _WINDOWS else limit.unit,
            requests_per_unit=0 if brought & _AMOUNTS else limit.requests_per_unit,
            own={**own, **limit.own},
        )


def fits(text: str, name: str) -> bool:
    """Return whether a pattern with stars fits a name."""
    return text == name if "*" not in text else pattern(Node(text)).fits(name)


def _limits(specs: Sequence[DescriptorSpec], above: tuple[DescriptorSpec, ...]) -> Iterator[tuple[DescriptorSpec, ...]]:
    for spec in specs:
        path = (*above, spec)
        if spec.rate_limit is not None and not spec.rate_limit.unlimited:
            yield path
        yield from _limits(spec.descriptors, path)
