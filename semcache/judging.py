"""Whether the nearest entry may be served: verifier, gate and policy of each namespace.

    judge(namespace, prompt, candidates) ──▶ verdict on each until one is not refused ──▶ gate ──▶ Judgement
    learn(namespace, ticket, is_right)   ──▶ gate

1. Of the nearest few the first that no guard refuses is judged: an entry about another number must not hide the one
   about this number behind it.
2. A gate belongs to what its scores mean: namespace, setting, embedding model. When one of these changes it begins
   anew from the shipped calibration, or goes on with what was learned when it was like this before.
3. Guards may be switched off but for one: what was too long to be read was not judged at all.
4. A request is noted by its gate once. What is looked at beside it (a fetch under way, the conversation before) is not.
5. A lookup is learned from once, for as long as its name is remembered.
6. `state` is what a gate has learned; `absorb` joins that of other replicas, or of this one before a restart.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from semcache.calibration import Gate, GateSettings, Report
from semcache.deixis import is_deictic
from semcache.evidence import Label
from semcache.namespaces import Demand, Namespace
from semcache.policy import Match, Policy, Ruling, Step, rule
from semcache.store import Candidate
from semcache.threshold import CLOSED, Target, Threshold
from semcache.tickets import Ticket
from semcache.verifier.guards import Guard
from semcache.verifier.verdict import Verdict, Verifier

MakeGate: TypeAlias = Callable[[GateSettings, str], Gate]
"""A gate with the shipped calibration, for the embedding model of this slug."""

NEAREST = 3
"""Entries looked at."""
SIMILARITY_MIN = 0.7
"""Least similarity of what is looked at; the calibration knows nothing of what is below."""
_NO_EXPLORING = 1.0
_NOTHING = Report(CLOSED, 0, 0)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of the nearest."""

    ruling: Ruling
    candidate: Candidate | None = None
    score: float | None = None
    """None where nothing was near, or guards refused all."""
    guard: str = ""
    """What refused the nearest."""
    is_shadow_hit: bool = False
    """The namespace's shadow setting would have served it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What labels say of a namespace, those of all replicas."""

    labels: int
    setting: Report
    shadow: Report | None
    """None where there is no shadow setting."""


class Judges:
    """The gates of all namespaces."""

    def __init__(
        self, verifier: Verifier, make_gate: MakeGate, *, judged_max: int = 65_536, draw: random.Random | None = None
    ) -> None:
        self._verifier = verifier
        self._make_gate = make_gate
        self._judged_max = judged_max
        self._draw = draw or random.Random()  # noqa: S311 - chooses what to learn from, guards nothing
        self._gates: dict[str, tuple[object, Gate]] = {}
        self._judged: OrderedDict[str, None] = OrderedDict()
        self._states: dict[str, Mapping[str, Any]] = {}

    def judge(  # noqa: PLR0913 - what a ruling takes, and nothing that belongs together
        self,
        namespace: Namespace,
        model: str,
        prompt: str,
        candidates: Sequence[Candidate],
        now: float,
        *,
        confidence_min: float,
        explores: bool,
    ) -> Judgement:
        """Judge the nearest entries of a request; `model` is the slug of what embedded it, `now` is Unix time."""
        gate = self.gate(namespace, model)
        candidate, verdict, guard = self._first(namespace, prompt, candidates)
        if verdict is None or candidate is None:
            gate.decide(None, now)
            step = Step.GUARD if guard else Step.NOTHING_NEAR
            return Judgement(Ruling(False, step), candidates[0] if guard else None, guard=guard)
        match = Match(candidate.similarity, verdict, gate.decide(verdict.score, now))
        draw = self._draw.random() if explores else _NO_EXPLORING
        ruling = rule(_policy(namespace), match, is_deictic=False, confidence_min=confidence_min, draw=draw)
        return Judgement(ruling, candidate, verdict.score, guard, _is_shadow_hit(namespace.shadow, candidate, ruling))

    def is_near(self, namespace: Namespace, model: str, prompt: str, other: str, similarity: float) -> bool:
        """Return whether the answer to another prompt would do; nobody's statistics change."""
        if is_deictic(other):
            return False
        return self._is_served(namespace, model, self._verifier.verify(prompt, other, similarity), similarity)

    def is_same_talk(self, namespace: Namespace, model: str, one: str, other: str, similarity: float) -> bool:
        """Return whether two conversations mean the same; nobody's statistics change."""
        verdict = self._verifier.verify(one, other, similarity)
        # Told twice a conversation has other words, and it is not what is answered.
        if verdict.guard is Guard.CONTENT:
            verdict = replace(verdict, guard=None)
        return self._is_served(namespace, model, verdict, similarity)

    def _is_served(self, namespace: Namespace, model: str, verdict: Verdict, similarity: float) -> bool:
        if similarity < SIMILARITY_MIN:
            return False
        decision = self.gate(namespace, model).peek(verdict.score)
        match = Match(similarity, verdict, decision)
        ruling = rule(_policy(namespace), match, is_deictic=False, confidence_min=0.0, draw=_NO_EXPLORING)
        return ruling.is_hit

    def learn(self, namespace: Namespace, model: str, ticket: Ticket, *, is_right: bool, now: float) -> bool:
        """Learn from a judged lookup; return whether there was something to learn."""
        gate = self.gate(namespace, model)
        if ticket.score is None or ticket.nonce in self._judged or gate.knows(ticket.nonce):
            return False
        self._judged[ticket.nonce] = None
        while len(self._judged) > self._judged_max:
            self._judged.popitem(last=False)
        gate.learn(ticket.nonce, Label(now, ticket.score, is_right, ticket.similarity))
        return True

    def standing(self, namespace: Namespace, model: str) -> Standing:
        """Return how the namespace's setting and its shadow stand by what is known of both."""
        gate = self.gate(namespace, model)
        return Standing(len(gate.labels), _report(gate, namespace, gate.report()), self._shadow(namespace, gate))

    def least(self, namespace: Namespace, model: str) -> float:
        """Return from where a namespace serves: its similarity, or the confidence that its target asks; 1: it is closed."""
        if namespace.threshold is not None:
            return namespace.threshold
        gate = self.gate(namespace, model)
        threshold = gate.report().threshold
        return 1.0 if threshold.is_closed else gate.peek(threshold.score).confidence

    def shadow_serves(self, namespace: Namespace, model: str, ticket: Ticket) -> bool:
        """Return whether the namespace's shadow setting would serve what a judged lookup came to."""
        shadow = namespace.shadow
        if shadow is not None and shadow.threshold is not None:
            return ticket.similarity >= shadow.threshold
        return self.gate(namespace, model).peek(ticket.score).is_shadow_served

    def versions(self) -> Mapping[str, int]:
        """Return for each gate that something was learned of another number for another `state`; 0: as it was told."""
        return dict.fromkeys(self._states, 0) | {
            _key(name, gate): gate.version for name, (_, gate) in self._gates.items()
        }

    def state(self, key: str) -> Mapping[str, Any]:
        """Return what a gate has learned, in JSON's types."""
        for name, (_, gate) in self._gates.items():
            if _key(name, gate) == key:
                return gate.state()
        return self._states[key]

    def absorb(self, key: str, state: Mapping[str, Any]) -> None:
        """Join what was learned elsewhere or before; what no gate is for yet waits for one.

        Raises:
            ValueError: it is nothing that a gate learned.
        """
        for name, (_, gate) in self._gates.items():
            if _key(name, gate) == key:
                gate.absorb(state)
                return
        self._states[key] = state

    def gate(self, namespace: Namespace, model: str) -> Gate:
        """Return the gate of a namespace."""
        setting = (model, namespace.target_error, namespace.threshold, namespace.shadow)
        known = self._gates.get(namespace.name)
        if known is not None and known[0] == setting:
            return known[1]
        gate = self._make_gate(GateSettings(target=_target(namespace), shadow=_shadow(namespace.shadow)), model)
        # Labels are of scores, not of a target: a gate with a new target goes on with what the old one had learned.
        if known is not None:
            self._states[_key(namespace.name, known[1])] = known[1].state()
        # What cannot be read teaches nothing, and is replaced.
        with suppress(ValueError):
            gate.absorb(self._states.pop(_key(namespace.name, gate), {}))
        self._gates[namespace.name] = (setting, gate)
        return gate

    @staticmethod
    def _shadow(namespace: Namespace, gate: Gate) -> Report | None:
        shadow = gate.shadow_report()
        return None if namespace.shadow is None else _report(gate, namespace.shadow, shadow or _NOTHING)

    def _first(
        self, namespace: Namespace, prompt: str, candidates: Sequence[Candidate]
    ) -> tuple[Candidate | None, Verdict | None, str]:
        refused = ""
        for candidate in candidates:
            # What an entry answers must stand by itself, too.
            if is_deictic(candidate.prompt):
                continue
            # Nobody asks how well what is refused would fit.
            verdict = self._verifier.verify(
                prompt, candidate.prompt, candidate.similarity, scores_refused=not namespace.guards
            )
            if verdict.guard is None or (not namespace.guards and verdict.guard is not Guard.LENGTH):
                return candidate, verdict, refused
            refused = refused or verdict.guard.value
        return None, None, refused


def _key(namespace: str, gate: Gate) -> str:
    # By its scale as well: replicas on the way to another model teach each other nothing, and overwrite nothing.
    return f"{namespace} {gate.scale}"


def _report(gate: Gate, demand: Demand, report: Report) -> Report:
    """Return how a demand stands: a fixed threshold by its own labels, a target as its gate says."""
    if demand.threshold is None:
        return report
    served = [label.is_right for label in gate.labels if label.similarity >= demand.threshold]
    return Report(Threshold(demand.threshold), len(served), served.count(False))


def _policy(namespace: Namespace) -> Policy:
    return Policy(
        has_guards=namespace.guards,
        similarity_min=SIMILARITY_MIN,
        threshold=namespace.threshold,
        explore_share=namespace.explore,
    )


_UNUSED_TARGET = 0.01


def _target(namespace: Namespace) -> Target:
    # Of a namespace with a threshold the gate decides nothing, and its confidence is still told.
    return Target(namespace.target_error or _UNUSED_TARGET)


def _is_shadow_hit(shadow: Demand | None, candidate: Candidate, ruling: Ruling) -> bool:
    if shadow is None or shadow.threshold is None:
        return ruling.is_shadow_hit
    return candidate.similarity >= shadow.threshold


def _shadow(demand: Demand | None) -> Target | None:
    return Target(demand.target_error) if demand is not None and demand.target_error is not None else None
