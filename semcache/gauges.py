"""How each namespace's gate stands, as gauges: is it open, from where does it serve, and with which error at most.

Read when somebody looks. Namespaces are configuration, so labels are bounded; one that serves equal prompts only has no
gate and no gauge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from semcache.backends import Backends
from semcache.judging import Judges
from semcache.namespaces import Namespace
from serving.metrics import Registry, Sample

GATES = {
    "open": "weir.semcache.gate.open",
    "serves_from": "weir.semcache.gate.serves_from",
    "labels": "weir.semcache.gate.labels",
    "target": "weir.semcache.gate.target_error",
    "error_upper": "weir.semcache.gate.error_upper",
}
"""Names of what is told of each gate."""


def show_gates(
    registry: Registry, namespaces: Callable[[], Iterable[Namespace]], backends: Backends, judges: Judges
) -> None:
    """Have the gates of these namespaces, whichever they are when somebody looks, among the metrics."""

    def read() -> Iterator[Sample]:
        for namespace in namespaces():
            backend = backends.of(namespace)
            if namespace.enabled and namespace.semantic and backend is not None:
                yield from _samples(namespace, backend.model, judges)

    registry.add_source(read)


def _samples(namespace: Namespace, model: str, judges: Judges) -> Iterator[Sample]:
    standing = judges.standing(namespace, model)
    threshold, labels = standing.setting.threshold, {"ns": namespace.name}
    kind = "confidence" if namespace.threshold is None else "similarity"
    yield Sample(GATES["open"], float(not threshold.is_closed), "gauge", labels)
    yield Sample(GATES["serves_from"], judges.least(namespace, model), "gauge", {**labels, "kind": kind})
    yield Sample(GATES["labels"], standing.labels, "gauge", labels)
    if namespace.target_error is not None:
        yield Sample(GATES["target"], namespace.target_error, "gauge", labels)
        yield Sample(GATES["error_upper"], threshold.error_upper, "gauge", labels)
